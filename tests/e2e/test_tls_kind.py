"""The kind "tls": connections that reach the upstream with their TLS, by the name in it."""

import signal
import socket
import ssl
import subprocess
import threading

import pytest

from tests.e2e.harness import burrow, free_port, reply, wait_for
from tests.e2e.relay import Relay
from tests.files import make_certificate
from tests.server.edge.test_hello import alpn, message, records, server_name
from tests.server.edge.test_hello import hello as openssl_hello

UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"


@pytest.fixture
def secret(tmp_path, tcp_upstream):
    """Makes echo services that speak TLS and ALPN by themselves: returns the port and the file to believe."""

    def make(name, protocols=("h2", "http/1.1")):
        cert_file, key_file = make_certificate(tmp_path / name, name)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert_file, key_file)
        context.set_alpn_protocols(list(protocols))

        def echo(plain):
            with context.wrap_socket(plain, server_side=True) as connection:
                while data := connection.recv(65536):
                    connection.sendall(data)

        return tcp_upstream(echo).port, cert_file

    return make


def visit(world, name, cert_file, protocols=("h2",), port=None):
    context = ssl.create_default_context(cafile=str(cert_file))
    context.set_alpn_protocols(list(protocols))
    plain = socket.create_connection((world.address, port or world.https), 30)
    return context.wrap_socket(plain, server_hostname=name)


def echoed(visitor, data):
    visitor.sendall(data)
    got = b""
    while len(got) < len(data):
        piece = visitor.recv(65536)
        assert piece
        got += piece
    return got == data


def answer(world, data):
    with socket.create_connection((world.address, world.https), 30) as plain:
        plain.sendall(data)
        return plain.recv(100)


def test_upstream_has_the_certificate_and_the_protocol(world, secret, upstream):
    port, cert_file = secret("passed.localhost")
    agent = world.agent("tls", port, "--name", "passed")
    assert agent.url == f"tls://passed.localhost:{world.https}"
    with visit(world, agent.host, cert_file) as visitor:
        assert visitor.selected_alpn_protocol() == "h2"
        assert echoed(visitor, bytes(range(256)) * 4096)
    # Names beside it are served as ever, and have no way to it.
    page = world.agent("http", upstream(lambda handler: reply(handler, b"hello")).port)
    assert world.get(page.host)[2] == b"hello"
    assert world.get(agent.host, sni=page.host)[0] == 421
    assert not list((world.folder / "state").rglob("*passed*"))


def test_hello_arrives_as_it_was_sent(world, tcp_upstream):
    """In records and pieces of any size, with extensions that nobody knows, a CA's challenge among them."""
    got = []

    def take(connection):
        data = b""
        while piece := connection.recv(65536):
            data += piece
        got.append(data)

    agent = world.agent("tls", tcp_upstream(take).port)
    agent.ready()
    name = server_name(agent.host.encode())
    unknown = b"\x0a\x0a\x00\x01\x00" + b"\xfe\x0d\x00\x02\x00\x00"  # GREASE (RFC 8701), and an ECH extension
    for wire in (
        records(message(unknown, name, alpn(b"acme-tls/1"))),
        records(message(name, alpn(b"h3")), 1),
        records(message(name, padding=20_000)) + b"and what follows",
    ):
        with socket.create_connection((world.address, world.https), 30) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(wire), 97):
                plain.sendall(wire[start : start + 97])
            plain.shutdown(socket.SHUT_WR)
            assert plain.recv(10) == b""
        wait_for(lambda: got, "what was sent")
        assert got.pop() == wire


def test_agent_that_is_away(world, secret):
    """Its visitors wait for it; where it said good-bye, they learn at once that nobody has the name."""
    port, cert_file = secret("away.localhost")
    agent = world.agent("tls", port, "--name", "away")
    agent.ready()
    agent.program.kill(signal.SIGKILL)
    agent.program.wait()
    answers = []

    def wait():
        with visit(world, "away.localhost", cert_file) as visitor:
            answers.append(echoed(visitor, b"waited"))

    waiting = threading.Thread(target=wait)
    waiting.start()
    agent = world.agent("tls", port, "--name", "away")
    waiting.join(30)
    assert answers == [True]
    agent.ready()
    agent.program.kill(signal.SIGTERM)
    agent.program.wait()
    wait_for(lambda: answer(world, openssl_hello("away.localhost", ["h2"])) == UNRECOGNIZED_NAME, "the alert")
    assert "Traceback" not in world.server.output


def test_connection_outlives_its_agents_connection(world, secret, tmp_path):
    port, cert_file = secret("steady.localhost")
    relay = Relay(world.https)
    agent = world.agent("tls", port, "--name", "steady", BURROW_SERVER=f"https://localhost:{relay.port}")
    agent.ready()
    with visit(world, "steady.localhost", cert_file) as visitor:
        for _ in range(3):
            assert echoed(visitor, b"x" * 100_000)
            relay.cut()


def test_visitor_that_stalls_stops_nobody_else(world, secret, tcp_upstream):
    port, cert_file = secret("busy.localhost")
    agent = world.agent("tls", port, "--name", "busy")
    agent.ready()
    with visit(world, "busy.localhost", cert_file) as stalled:
        assert fill(stalled)
        with visit(world, "busy.localhost", cert_file) as other:
            assert echoed(other, b"y" * 1_000_000)


def test_openssl_and_curl(world, tmp_path):
    """A server and clients that are not ours."""
    cert_file, key_file = make_certificate(tmp_path, "site.localhost")
    port = free_port()
    server = world.program(
        *("openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", cert_file, "-key", key_file),
        *("-www", "-alpn", "http/1.1"),
    )
    server.line("ACCEPT")
    agent = world.agent("tls", port, "--name", "site")
    agent.ready()
    done = subprocess.run(
        [
            *("openssl", "s_client", "-connect", f"127.0.0.1:{world.https}", "-servername", "site.localhost"),
            *("-CAfile", cert_file, "-verify_return_error", "-alpn", "http/1.1"),
        ],
        input=b"",
        capture_output=True,
        timeout=30,
    )
    assert b"Verify return code: 0 (ok)" in done.stdout
    assert b"ALPN protocol: http/1.1" in done.stdout
    got = subprocess.run(
        [
            *("curl", "-sS", "--http1.1", "--cacert", cert_file, "--resolve"),
            *(f"site.localhost:{world.https}:127.0.0.1", f"https://site.localhost:{world.https}/"),
        ],
        capture_output=True,
        timeout=30,
    )
    assert b"s_server" in got.stdout, got.stderr


def test_server_stops_when_the_connection_is_done(make_world, secret):
    world = make_world(stop_grace=60)
    port, cert_file = secret("ends.localhost")
    agent = world.agent("tls", port, "--name", "ends")
    agent.ready()
    with visit(world, agent.host, cert_file) as visitor:
        size = fill(visitor)
        world.server.kill(signal.SIGTERM)
        wait_for(lambda: not listens(world), "the end of listening")
        while size:
            piece = visitor.recv(65536)
            assert piece
            size -= len(piece)
    assert world.server.wait() == 0


def fill(visitor):
    """Send until all buffers on the way are full. @return: how many bytes the upstream sends back."""
    visitor.setblocking(False)
    size = 0
    with pytest.raises(ssl.SSLWantWriteError):
        while True:
            size += visitor.send(bytes(65536))
    visitor.settimeout(30)
    return size


def listens(world):
    try:
        socket.create_connection((world.address, world.https), 1).close()
    except OSError:
        return False
    return True


def test_server_without_a_tls_port_refuses(make_world):
    world = make_world(tls="off")
    agent = world.agent("tls", 8443, "--name", "db")
    assert agent.program.wait() == 77
    error = agent.events("error")[0]
    assert error["error"] == "BadOption"
    assert "--tls off" in error["message"]


def test_several_workers(make_world, secret):
    """Whichever process accepts a visitor, the one with the agent's session serves it."""
    world = make_world(workers=2)
    port, cert_file = secret("many.localhost")
    agent = world.agent("tls", port, "--name", "many")
    agent.ready()
    for _ in range(12):
        with visit(world, agent.host, cert_file) as visitor:
            assert echoed(visitor, b"hello")
    assert "Traceback" not in world.server.output


def test_server_ends_tls_and_the_service_reads_plain_bytes(world, tcp_upstream):
    """By the certificate of the name; half-closes and large data pass as through a TCP port."""

    def echo(plain):
        while data := plain.recv(65536):
            plain.sendall(data)
        plain.sendall(b"end")

    agent = world.agent("tls", tcp_upstream(echo).port, "--name", "ended", "--terminate", "--alpn", "mqtt")
    assert agent.url == f"tls://ended.localhost:{world.https}"
    with visit(world, agent.host, world.ca_file, ("h2", "mqtt")) as visitor:
        assert visitor.selected_alpn_protocol() == "mqtt"
        assert echoed(visitor, bytes(range(256)) * 4096)
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        visit(world, agent.host, world.ca_file, ("h2",))
    wrong = burrow("tls", "1", "--alpn", "mqtt", env=world.env)
    assert wrong.wait() == 78, wrong.output
    assert "add --terminate" in wrong.output
