"""
Kinds of a plugin, for each way in which visitors reach tunnels; with faults, beside a plugin that cannot be
loaded; and of other versions than the server's.
"""

import os
import re
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e import harness
from tests.e2e.harness import Program, World, reply, wait_for
from tests.e2e.test_udp import UdpUpstream, Visitor
from tests.files import make_certificate

SAMPLER = Path(__file__).parent / "plugin"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two that are on the path, for packages: the plugin, and one that cannot be loaded."""
    broken = tmp_path_factory.mktemp("broken")
    plugins = broken / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "burrow_torn_plugins.py").write_text("import burrow_of_yesterday\n")
    return [str(SAMPLER), str(broken)]


@pytest.fixture(scope="module")
def sampled(folders):
    """Programs that are started have the plugins."""
    path = os.pathsep.join([*folders, str(Path(__file__).parents[2])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        yield


@pytest.fixture(scope="module")
def world(sampled, tmp_path_factory):
    world = World(tmp_path_factory.mktemp("sampled"), metrics=f"127.0.0.1:{harness.free_port()}")
    world.start_server()
    world.env["BURROW_TOKEN"] = world.token()
    yield world
    world.close()


def echo(connection):
    while data := connection.recv(65536):
        connection.sendall(data)


def port_of(url):
    return int(url.rpartition(":")[2])


def asked(address, data):
    """What comes back for some bytes; empty if the connection was closed."""
    with socket.create_connection(address, 30) as visitor:
        visitor.sendall(data)
        try:
            return visitor.recv(100)
        except ConnectionResetError:
            return b""


def test_each_way_to_reach_a_tunnel(world, upstream, tcp_upstream, tmp_path):
    """By host, SNI, TCP port, UDP port, and privately, all in one configuration file."""
    cert_file, key_file = make_certificate(tmp_path, "sni.localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)

    def secret(plain):
        with context.wrap_socket(plain, server_side=True) as connection:
            echo(connection)

    grams = UdpUpstream(lambda datagram: [datagram])
    page = upstream(lambda handler: reply(handler, b"page"))
    plain = tcp_upstream(echo)
    file = tmp_path / "agent.toml"
    file.write_text(
        f'[tunnels.host]\nkind = "byhost"\nupstream = {page.port}\npolite = true\n'
        'response-header-set = ["X-Wrapped: yes"]\n'
        f'[tunnels.sni]\nkind = "bysni"\nupstream = {tcp_upstream(secret).port}\n'
        f'[tunnels.port]\nkind = "byport"\nupstream = {plain.port}\n'
        f'[tunnels.hidden]\nkind = "byport"\nupstream = {plain.port}\nprivate = true\n'
        f'[tunnels.datagram]\nkind = "bydatagram"\nupstream = {grams.port}\n'
    )
    agent = world.agent("start", "--config", file)
    urls = {event["name"]: event["url"] for event in agent.ready(5)}
    try:
        status, headers, body = world.get("host.localhost")
        assert (status, headers["X-Wrapped"], body) == (200, "yes", b"page")
        assert urls["sni"] == f"tls://sni.localhost:{world.https}"
        trusting = ssl.create_default_context(cafile=str(cert_file))
        inside = socket.create_connection((world.address, world.https), 30)
        with trusting.wrap_socket(inside, server_hostname="sni.localhost") as visitor:
            visitor.sendall(b"by name")
            assert visitor.recv(100) == b"by name"
        assert urls["port"].startswith("byport://localhost:")
        assert asked(("127.0.0.1", port_of(urls["port"])), b"by port") == b"BY PORT"
        assert urls["hidden"] == "private://hidden"
        command = [sys.executable, "-m", "burrow.cli.main", "connect", "hidden", "--stdio"]
        env = {**os.environ, **world.env}
        ran = subprocess.run(command, input=b"hidden", capture_output=True, env=env, timeout=60)
        assert ran.stdout == b"HIDDEN", ran.stderr
        visitor = Visitor(urls["datagram"].replace("bydatagram", "udp"))
        assert visitor.wait(b"datagram", b"datagram")
        # What they tell: an event of each, in the kind's own words.
        told = wait_for(lambda: agent.events("request"), "an event")
        assert {"http"} <= {event["protocol"] for event in told}
    finally:
        grams.close()
    connection = world.program("curl", "-sS", f"http://{world.options['metrics']}/metrics")
    assert connection.wait() == 0
    for kind in ("byhost", "bysni", "byport", "bydatagram"):
        assert re.search(rf'burrow_tunnels{{kind="{kind}",node="[^"]+"}} [12]', connection.output)
    counted = r'burrow_kind_counts_total{kind="bydatagram",node="[^"]+",what="ports"} [1-9]'
    assert re.search(counted, connection.output)


def test_commands_know_the_kinds(world):
    shown = harness.burrow("protocols")
    assert shown.wait() == 1  # for the one that cannot be loaded, which is named
    assert "burrow_torn_plugins is not used: it cannot be loaded: ModuleNotFoundError" in shown.output
    assert re.search(r"(?m)^bysni +sni ", shown.output)
    assert re.search(r"(?m)^bydatagram +udp-port ", shown.output)
    helped = harness.burrow("byhost", "--help")
    assert helped.wait() == 0
    assert "--polite" in helped.output
    assert "--basic-auth" in helped.output
    wrong = harness.burrow("bysni", "1", "--polite", env=world.env)
    assert wrong.wait() == 2
    assert "no option --polite: write burrow byhost, which has it" in wrong.output


def completed(line):
    """What a shell is told that fits, as it asks on a press of the Tab key."""
    env = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    inner = "import os, sys; os.dup2(1, 8); sys.argv = ['burrow']; from burrow.cli.main import main; main()"
    program = Program(sys.executable, "-c", inner, env=env)
    program.wait()
    return [line.strip() for line in program.lines]


def test_completion():
    assert "byhost" in completed("burrow by")
    assert "--polite" in completed("burrow byhost 3000 --po")


def test_faults_at_run_time_cost_what_they_were_in(world, tcp_upstream, tmp_path):
    port = tcp_upstream(echo).port
    file = tmp_path / "agent.toml"
    kinds = {"good": "byport", "bytes": "faulty", "agent": "faulty", "server": "faulty"}
    file.write_text(
        "".join(
            f'[tunnels.fault-{name}]\nkind = "{kind}"\nupstream = {port}\n'
            + (f'where = "{name}"\n' if kind == "faulty" else "")
            for name, kind in kinds.items()
        )
    )
    agent = world.agent("start", "--config", file)
    urls = {event["name"]: event["url"] for event in agent.ready(3)}
    (error,) = wait_for(lambda: agent.events("refused"), "the refusal")
    assert "the server's plugin for tunnels of kind faulty failed" in str(error)
    world.server.line("the plugin for tunnels of kind faulty failed")
    assert asked(("127.0.0.1", port_of(urls["fault-agent"])), b"x") == b""
    agent.program.line("the plugin for tunnels of kind faulty failed; a visitor's stream is reset")
    with socket.create_connection(("127.0.0.1", port_of(urls["fault-bytes"])), 30) as beside:
        beside.sendall(b"before")
        assert beside.recv(100) == b"before"
        assert asked(("127.0.0.1", port_of(urls["fault-bytes"])), b"fail") == b""
        agent.program.line("the plugin for tunnels of kind faulty failed; a visitor's connection is reset")
        beside.sendall(b"after")
        assert beside.recv(100) == b"after"
    assert asked(("127.0.0.1", port_of(urls["fault-good"])), b"well") == b"WELL"
    # The server named the plugin that it could not load, and serves.
    assert "burrow_torn_plugins is not used" in world.server.output


def test_versions_that_have_nothing_in_common(world):
    agent = world.agent("faulty", 9, "--name", "newer", FAULTY_VERSION="2")
    assert agent.program.wait() == 77
    assert "install a newer release on the server" in agent.program.output
