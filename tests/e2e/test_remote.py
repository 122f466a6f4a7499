"""Commands that ask a real server by its admin API, with each role."""

import json
import os
import socket
import sys
import time

import pytest

from burrow.cli import quickly
from burrow.cli.columns import NOT_STORED
from burrow.link.address import Credentials, ServerAddress
from tests.e2e.harness import burrow, free_port, reply, wait_for


@pytest.fixture(scope="module")
def tokens(world):
    return {role: world.token(f"remote-{role}", role) for role in ("agent", "viewer", "admin")}


@pytest.fixture
def ask(world, tokens):
    """Runs a command with a role's token: its exit code and output."""

    def run(role, *words, **env):
        program = burrow(*words, env={**world.env, "BURROW_TOKEN": tokens.get(role, role), **env})
        return program.wait(), program.output

    return run


@pytest.fixture
def agent(world, upstream, tokens):
    web = upstream(lambda handler: reply(handler, b"hello"))
    agent = world.agent("http", web.port, "--name", "remote-blog", BURROW_TOKEN=tokens["agent"])
    agent.ready()
    yield agent
    agent.program.stop()  # or the next test's agent takes its name over, and this one is still there


LISTS = ("tunnels", "sessions", "names", "tokens", "nodes", "certs", "events", "audit")
OF_AGENTS = ("tunnels", "sessions", "names")


def test_each_list_by_each_role(world, agent, ask):
    for command in LISTS:
        code, output = ask("viewer", command, "--json")
        assert code == 0, (command, output)
        assert isinstance(json.loads(output)["items"], list)
        code, output = ask("agent", command)
        if command in OF_AGENTS:
            assert code == 0
            assert "remote-blog" in output
        else:
            assert (code, "the role viewer" in output) == (77, True), (command, output)
    for command in ("tunnels", "names", "tokens", "nodes", "events", "audit"):
        code, output = ask("", command, "--state", str(world.folder / "state"))
        assert code == 0
        assert ("the store does not have" in output) == (command in NOT_STORED)
    code, output = ask("agent", "status")
    assert code == 0
    assert "remote-agent (role agent)" in output
    assert "Tunnels  1 open" in output
    assert "Nothing is wrong." in output
    assert json.loads(ask("viewer", "status", "--json")[1])["whoami"]["name"] == "remote-viewer"


def test_changes_by_each_role(world, agent, ask, tokens):
    assert ask("viewer", "tunnels", "close", "remote-blog")[0] == 77
    assert ask("agent", "tokens", "create", "remote-new")[0] == 77
    code, made = ask("admin", "tokens", "create", "remote-new", "--names", "2")
    assert code == 0
    assert ask(made, "status")[0] == 0
    assert ask("admin", "tokens", "role", "remote-new", "viewer")[0] == 0
    assert "role viewer" in ask(made, "status")[1]
    assert ask("admin", "tokens", "revoke", "remote-new")[0] == 0
    assert ask(made, "status") == (
        77,
        "burrow: The token is unknown or revoked: ask the server's owner for another.",
    )
    session = json.loads(ask("agent", "sessions", "--json")[1])["items"][0]["id"]
    assert ask("agent", "sessions", "end", session)[0] == 0
    wait_for(lambda: session not in ask("agent", "sessions")[1] and world.get(agent.host)[2] == b"hello")
    code, output = ask("agent", "names", "release", "remote-blog")
    assert (code, "add --force" in output) == (77, True)
    assert ask("agent", "tunnels", "close", "remote-blog") == (0, "Closed remote-blog")
    assert agent.program.wait() == 77
    assert ask("agent", "names", "transfer", "remote-blog", "remote-admin")[0] == 77
    done = ask("admin", "names", "transfer", "remote-blog", "remote-admin")
    assert done == (0, "remote-blog is remote-admin's now")
    assert ask("agent", "names", "release", "remote-blog")[0] == 77
    assert ask("admin", "names", "transfer", "remote-blog", "remote-agent")[0] == 0
    assert ask("agent", "names", "release", "remote-blog")[0] == 0
    code, output = ask(
        "admin", "nodes", "drain", json.loads(ask("admin", "nodes", "--json")[1])["items"][0]["id"]
    )
    assert (code, "no other node" in output) == (77, True)


def test_requests_and_events_live_through_a_restart(world, agent, tokens):
    def follow(role, *words):
        env = {**world.env, "BURROW_TOKEN": tokens[role]}
        return world.program(sys.executable, "-m", "burrow.cli.main", *words, env=env)

    logs = follow("agent", "logs", "-f", "remote-blog")
    events = follow("viewer", "events", "-f", "--json")
    events.line("tunnel-open")
    wait_for(lambda: world.get(agent.host, "/one%1b")[2] == b"hello" and "/one" in logs.output)
    shown = len(events.lines)
    world.server.stop()
    logs.line("trying again")
    world.start_server()
    logs.line("connected again")
    wait_for(lambda: world.get(agent.host, "/two")[2] == b"hello" and "GET /two  200" in logs.output)
    before = len(events.lines)
    events.line("connected again")
    events.line('"node-started"', shown)  # before it was connected again
    other = world.agent("tcp", 9, "--name", "remote-db", BURROW_TOKEN=tokens["admin"])
    other.ready()
    assert (
        json.loads(events.line(".*remote-db.*|.*tunnel-open.*tcp://.*", before)[0])["kind"] == "tunnel-open"
    )
    for program in (logs, events):
        program.kill(2)
        assert program.wait() == 0
        assert "Traceback" not in program.output


def test_servers_that_cannot_be_asked(world, ask, tmp_path):
    away = f"https://localhost:{free_port()}"
    for words, code, text in (
        (["status", "--server", away], 69, "cannot reach"),
        (["tunnels", "--server", f"http://localhost:{world.http}"], 77, "use --server https://"),
        (["tunnels", "--server", "blog"], 78, "is no server address"),
        (["tunnels", "--ca-file", os.devnull], 78, "holds no certificate"),
    ):
        got, output = ask("agent", *words)
        assert (got, text in output) == (code, True), output


@pytest.mark.alone
def test_completion_asks_the_server(world, agent, tokens):
    address = ServerAddress.parse(world.env["BURROW_SERVER"])
    credentials = Credentials(address, tokens["admin"], "", world.ca_file)
    assert "remote-blog" in quickly.names_quickly(credentials, "tunnels", 20)
    assert "remote-agent" in quickly.names_quickly(credentials, "tokens", 20)
    assert quickly.names_quickly(Credentials(address, "wrong", "", world.ca_file), "tokens", 20) == []
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        address = ServerAddress.parse(f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        assert quickly.names_quickly(Credentials(address, "t", ""), "tokens", 0.2) == []
        assert time.monotonic() - began < 5


def test_a_token_made_for_no_server_is_told(world, tmp_path):
    """A person left out --state beside a server that has it."""
    state = (world.folder / "state").resolve()
    env = {**world.env, "XDG_STATE_HOME": str(tmp_path)}
    absent = burrow("token", "list", env=env)
    assert absent.wait() == 78
    assert str(state) in absent.output or " more" in absent.output  # others of this machine come first
    created = burrow("token", "create", "lost", env=env)
    assert created.wait() == 0, created.output
    said, token = created.lines
    assert f"in the store of {tmp_path / 'burrow'}; no server runs with that now; server" in said.replace(
        "; a server", "; server"
    )
    assert " " not in token
    status = burrow("status", env={**env, "BURROW_STATE": str(tmp_path / "burrow"), "BURROW_SERVER": ""})
    assert status.wait() == 0, status.output
    assert "! No server runs with the store of" in status.output
    assert "Nothing is wrong" not in status.output
    known = burrow("token", "create", "found", "--state", state, env=env)
    assert known.wait() == 0, known.output
    assert known.lines[0] == f"burrow: the token is in the store of {state}, where a server runs"
