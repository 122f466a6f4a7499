"""burrow.program.listening: what a listener accepts; the tunnel is the test's. tests/e2e has real ones."""

import os
import socket
import stat
import threading

import pytest

import burrow
from burrow.errors import BurrowError, ConfigError
from burrow.program.listening import Listener, _Door, _visitor


class Tunnel:
    url = "tcp://example.com:20001"

    def __init__(self):
        self.closed = False

    def close(self, *, now):
        assert not now
        self.closed = True


@pytest.fixture
def listener():
    listener = Listener(Tunnel(), _Door(), told=True)
    yield listener
    listener.close()


def visit(listener, data):
    """What the agent does for a visitor."""
    visitor = socket.socket(socket.AF_UNIX)
    visitor.connect(listener._door.path)
    visitor.sendall(data)
    return visitor


def test_connection_has_its_visitor_and_all_that_follows(listener):
    with visit(listener, b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 20001\r\nhello") as visitor:
        connection = listener.accept(timeout=30)
        assert connection.visitor == ("192.0.2.7", 4711)
        with connection as accepted:
            assert accepted.recv(100) == b"hello"
            assert accepted.gettimeout() is None
            accepted.sendall(b"good-bye")
        assert visitor.recv(100) == b"good-bye"
        assert visitor.recv(100) == b""


def test_who_leaves_before_its_address_is_passed_over(listener):
    for data in (b"", b"PROXY TCP4", b"GET / HTTP/1.1\r\n", b"x" * 200, b"\xff\n"):
        visit(listener, data).close()
    with visit(listener, b"PROXY UNKNOWN\r\n"):
        assert listener.accept(timeout=30).visitor is None


def test_nobody_comes(listener):
    with pytest.raises(TimeoutError, match="no visitor came to tcp:"):
        listener.accept(timeout=0.01)


def test_closing_wakes_who_waits_and_leaves_nothing(listener):
    seen = []

    def take():
        seen.extend(listener)
        seen.append("over")

    thread = threading.Thread(target=take)
    thread.start()
    listener.close()
    thread.join(30)
    assert seen == ["over"]
    assert listener.tunnel.closed
    assert not os.path.exists(listener._door.folder)
    with pytest.raises(BurrowError, match="is closed"):
        listener.accept()


def test_nobody_else_can_connect(listener):
    assert stat.S_IMODE(os.stat(listener._door.folder).st_mode) == 0o700


def test_addresses():
    assert _visitor(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n") == ("2001:db8::1", 1)
    assert _visitor(b"PROXY UNKNOWN\r\n") is None
    with pytest.raises(ValueError, match="no address"):
        _visitor(b"SSH-2.0-x\r\n")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("udp", "tunnels of kind udp have none: write tcp"),
        ("files", "write tcp, tls or http, or burrow.forward"),
    ],
)
def test_kinds_that_have_no_connections_for_a_program(kind, words):
    with pytest.raises(ConfigError, match=words):
        burrow.listen(kind)


def test_several_ports():
    with pytest.raises(ConfigError, match=r"several ports, .* `for port in range"):
        burrow.listen("tcp", port="5000-5003", server="https://localhost:9", token="x")


def test_option_that_it_sets_itself():
    with pytest.raises(ConfigError, match="leave proxy_protocol out"):
        burrow.listen("tcp", proxy_protocol="v2")
