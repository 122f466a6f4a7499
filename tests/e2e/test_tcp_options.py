"""Options of tunnels of kind tcp: the PROXY protocol to a real nginx, and who may connect."""

import socket
from urllib.parse import urlsplit

import pytest

from tests.e2e.harness import TcpUpstream, burrow, free_port, read_response, wait_for
from tests.e2e.test_nginx import start_nginx

CONFIGURATION = """
events {}
http {
    server {
        listen 127.0.0.1:%d proxy_protocol;
        location / {
            return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_port";
        }
    }
}
"""


@pytest.fixture(scope="module")
def nginx(world, tmp_path_factory):
    """The port of an nginx that wants the PROXY protocol."""
    port = free_port()
    world.started.append(start_nginx(tmp_path_factory.mktemp("nginx") / "nginx", CONFIGURATION % port))

    def listens():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for(listens, "nginx to listen")
    return port


def connect(url, source="127.0.0.1"):
    """A visitor from an address of the loopback."""
    return socket.create_connection(("127.0.0.1", urlsplit(url).port), 20, (source, 0))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_upstream_learns_the_visitors_address(world, nginx, version):
    agent = world.agent("tcp", nginx, "--proxy-protocol", version)
    with connect(agent.url, "127.0.0.7") as visitor:
        source = visitor.getsockname()
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        status, _, body = read_response(visitor)
    assert status == 200
    assert body.decode() == f"127.0.0.7 {source[1]} {urlsplit(agent.url).port}"
    agent.program.stop()


def test_another_version_is_refused(world):
    program = burrow("tcp", "1", "--proxy-protocol", "v3", env=world.env)
    world.started.append(program)
    assert program.wait() == 78
    assert '--proxy-protocol "v3" is not possible: write one of v1, v2' in program.output


def test_visitors_are_admitted_by_their_address(world):
    def greet(connection):
        connection.sendall(b"hello")

    service = TcpUpstream(greet)
    arguments = ("tcp", service.port, "--allow", "127.0.0.0/24", "--deny", "127.0.0.9")
    agent = world.agent(*arguments, "--name", "gated")
    with connect(agent.url, "127.0.0.8") as visitor:
        assert visitor.recv(5) == b"hello"
    for source in ("127.0.0.9", "127.0.1.1"):
        with connect(agent.url, source) as visitor:
            assert visitor.recv(5) == b""
    agent.program.stop()
    service.close()
