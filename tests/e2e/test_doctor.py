"""C{burrow doctor}: faults are planted, and each is named, with what to do about it."""

import json
import sys
from dataclasses import dataclass, field

import pytest

from tests.e2e.harness import Program, burrow, free_port, reply
from tests.files import make_certificate
from tests.redis import RedisServer


@dataclass
class Planted:
    """
    @ivar check: the check that has to fail. @ivar words: in what it says. @ivar advice: in what to do.
    @ivar clock: how far the command's clock is from the true one, as faketime takes it.
    """

    check: str
    words: str
    advice: str
    arguments: list = field(default_factory=list)
    env: dict = field(default_factory=dict)
    clock: str = ""
    level: str = "failed"


def run(role, arguments, env, clock=""):
    """The findings, by check, and the exit code."""
    arguments = ["doctor", role, *arguments, "--json"]
    if clock:
        program = Program(
            "faketime", "-f", clock, sys.executable, "-m", "burrow.cli.main", *arguments, env=env
        )
    else:
        program = burrow(*arguments, env=env)
    code = program.wait(60)
    findings = [json.loads(line) for line in program.lines]
    assert findings, program.output
    return findings, code


def broken_file(world, tmp_path):
    file = tmp_path / "broken.toml"
    file.write_text("server = https://example.com")
    return Planted("configuration", "is not TOML", "correct that", ["--config", file])


def no_token(world, tmp_path):
    return Planted("configuration", "which token", "burrow login", env={"BURROW_TOKEN": ""})


def proxy_of_another_kind(world, tmp_path):
    env = {"HTTPS_PROXY": "socks5://127.0.0.1:1080", "NO_PROXY": ""}
    return Planted("proxy", "not usable", "unset it", env=env)


def proxy_away(world, tmp_path):
    port = free_port()
    env = {"HTTPS_PROXY": f"http://127.0.0.1:{port}", "NO_PROXY": ""}
    return Planted("port", f"nothing listens on 127.0.0.1 port {port}", "whether the proxy runs", env=env)


def unknown_host(world, tmp_path):
    server = "https://burrow.invalid"
    return Planted("DNS", "no address is known for burrow.invalid", "typing error", ["--server", server])


def nothing_listens(world, tmp_path):
    port = free_port()
    return Planted(
        "port", f"port {port}", "whether the server runs", ["--server", f"https://localhost:{port}"]
    )


def unknown_ca(world, tmp_path):
    return Planted("certificate", "does not believe", "--ca-file", env={"BURROW_CA_FILE": ""})


def certificate_expired(world, tmp_path):
    return Planted("certificate", "has expired", "the clock here", clock="+20y")


def wrong_clock(world, tmp_path):
    return Planted("clock", "s ahead of the server's", "timedatectl", clock="+10m")


def wrong_token(world, tmp_path):
    return Planted("token", "token", "burrow token create", env={"BURROW_TOKEN": "x" * 40})


def upstream_away(world, tmp_path):
    port = free_port()
    planted = Planted("upstream", f"Nothing listens on localhost port {port}", "until", [port])
    planted.level = "warning"
    return planted


def domain_without_record(world, tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('[tunnels.own]\nkind = "files"\nupstream = "."\nname = ""\ndomain = "burrow.invalid"\n')
    return Planted("domain", "no address is known for burrow.invalid", "DNS record", ["--config", file])


AGENTS = [
    domain_without_record,
    broken_file,
    no_token,
    proxy_of_another_kind,
    proxy_away,
    unknown_host,
    nothing_listens,
    unknown_ca,
    certificate_expired,
    wrong_clock,
    wrong_token,
    upstream_away,
]


def examine(planted, findings, code):
    bad = [each for each in findings if each["level"] not in ("ok", "skipped")]
    assert [(each["name"], each["level"]) for each in bad] == [(planted.check, planted.level)], findings
    assert planted.words in bad[0]["text"], bad
    assert planted.advice in bad[0]["advice"], bad
    assert code == (1 if planted.level == "failed" else 0)


@pytest.mark.parametrize("plant", AGENTS, ids=lambda plant: plant.__name__)
def test_faults_of_an_agent(world, tmp_path, plant):
    planted = plant(world, tmp_path)
    examine(planted, *run("agent", planted.arguments, {**world.env, **planted.env}, planted.clock))


def test_certificate_of_another_name(make_world, tmp_path):
    cert, key = make_certificate(tmp_path / "certificate", "elsewhere.example")
    world = make_world(tls="files", cert_file=cert, key_file=key)
    planted = Planted("certificate", "of another name", "typing error", env={"BURROW_CA_FILE": str(cert)})
    examine(planted, *run("agent", [], {**world.env, **planted.env}))


def test_agent_that_is_well(world, upstream):
    hello = upstream(lambda handler: reply(handler, b"hello"))
    findings, code = run("agent", [hello.port], world.env)
    assert {each["level"] for each in findings} == {"ok"}, findings
    names = [each["name"] for each in findings]
    checks = ["configuration", "proxy", "DNS", "port", "certificate", "server", "clock", "token", "upstream"]
    assert (names, code) == (checks, 0)


def test_lines_for_a_person(world):
    program = burrow("doctor", env=world.env)
    assert program.wait() == 0
    assert program.lines[-1] == "All is well"
    program = burrow("doctor", env={**world.env, "BURROW_TOKEN": ""})
    assert program.wait() == 1
    assert program.lines[-1] == "1 of 1 checks failed: configuration"


def test_something_else_listens(world, upstream):
    other = upstream(lambda handler: reply(handler, b"hello"))
    planted = Planted("server", "does not answer as a Burrow server", "docs/nginx.md")
    arguments = ["--server", f"http://localhost:{other.port}"]
    examine(planted, *run("agent", arguments, world.env))


# -- the server -------------------------------------------------------------------------------------------


def contradiction(world, tmp_path):
    return Planted(
        "configuration", "--tls files needs --cert-file", "burrow server --help", ["--tls", "files"]
    )


def useless_option(world, tmp_path):
    planted = Planted("configuration", "no effect", "leave it out", ["--acme-email", "me@example.com"])
    planted.level = "warning"
    return planted


def folder_that_cannot_be_written(world, tmp_path):
    return Planted("state folder", "cannot be written", "chown", ["--state", "/dev/null/state"])


def port_taken(world, tmp_path):
    arguments = ["--https", f"127.0.0.1:{world.https}"]
    return Planted("port https", "Address already in use", "ss -ltnp", arguments)


def metrics_port_taken(world, tmp_path):
    arguments = ["--metrics", f"127.0.0.1:{world.https}"]
    return Planted("port metrics", "Address already in use", "ss -ltnp", arguments)


def ssh_port_taken(world, tmp_path):
    arguments = ["--ssh", f"127.0.0.1:{world.https}"]
    return Planted("port ssh", "Address already in use", "ss -ltnp", arguments)


def domain_without_address(world, tmp_path):
    return Planted("DNS", "no address is known for burrow.invalid", "wait", ["--domain", "burrow.invalid"])


def redis_away(world, tmp_path):
    arguments = ["--store", f"redis://127.0.0.1:{free_port()}"]
    return Planted("store", "does not answer", "whether Redis runs", arguments)


def authority_away(world, tmp_path):
    port = free_port()
    arguments = ["--tls", "acme", "--acme-directory", f"https://127.0.0.1:{port}/dir"]
    return Planted("CA", "cannot be reached", "online", arguments)


def certificate_file_expired(world, tmp_path):
    cert, key = make_certificate(tmp_path, "localhost")
    arguments = ["--tls", "files", "--cert-file", cert, "--key-file", key]
    return Planted("certificate", "has expired", "replace it", arguments, clock="+40d")


def certificate_file_that_ends_soon(world, tmp_path):
    planted = certificate_file_expired(world, tmp_path)
    planted.clock, planted.words, planted.level = "+27d", "is valid until", "warning"
    return planted


SERVERS = [
    contradiction,
    useless_option,
    folder_that_cannot_be_written,
    port_taken,
    metrics_port_taken,
    ssh_port_taken,
    domain_without_address,
    redis_away,
    authority_away,
    certificate_file_expired,
    certificate_file_that_ends_soon,
]


@pytest.mark.parametrize("plant", SERVERS, ids=lambda plant: plant.__name__)
def test_faults_of_a_server(world, tmp_path, plant):
    planted = plant(world, tmp_path)
    options = {"https": f"127.0.0.1:{free_port()}", "http": f"127.0.0.1:{free_port()}", "state": tmp_path}
    arguments = [*planted.arguments]
    for name, value in options.items():
        if f"--{name}" not in arguments:
            arguments += [f"--{name}", value]
    findings, code = run("server", arguments, {"BURROW_STATE": ""}, planted.clock)
    examine(planted, [each for each in findings if each["name"] != "descriptors"], code)


def test_server_that_runs(world):
    ports = ["--https", f"127.0.0.1:{world.https}", "--http", f"127.0.0.1:{world.http}"]
    findings, code = run("server", [*ports, "--state", world.folder / "state"], {})
    found = {each["name"]: each["text"] for each in findings}
    assert code == 0
    assert "a server runs with it" in found["state folder"]
    assert "the server that runs listens there" in found["port https"]
    assert "knows 1 token" in found["store"]
    findings, code = run("server", ["--state", world.folder / "state"], {})  # its ports are the server's own
    found = {each["name"]: each["text"] for each in findings}
    assert code == 0, findings
    assert f"(process {world.server.process.pid})" in found["configuration"]
    assert found["port https"] == f"127.0.0.1:{world.https}: the server that runs listens there"


def test_store_without_tokens(tmp_path):
    redis = RedisServer()
    try:
        arguments = ["--store", f"redis://127.0.0.1:{redis.port}", "--state", tmp_path / "state"]
        ports = ["--https", f"127.0.0.1:{free_port()}", "--http", f"127.0.0.1:{free_port()}"]
        findings, code = run("server", [*arguments, *ports], {})
        store = next(each for each in findings if each["name"] == "store")
        assert (store["level"], code) == ("warning", 0)
        assert "burrow token create" in store["advice"]
    finally:
        redis.stop()
