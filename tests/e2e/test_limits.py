"""How much of a server, or of an agent, strangers may take: connections of an address."""

import contextlib
import socket
import struct
import time

import pytest

from tests.e2e.harness import World, read_response, reply, wait_for

MOST = 5
STRANGER, NEIGHBOUR, PROXY = "127.0.0.21", "127.0.0.22", "127.0.0.23"


@pytest.fixture(scope="module", params=["plain", "tls"])
def counting(request, tmp_path_factory):
    """A server that counts the loopback's addresses, too, but for the agents' own and one proxy's."""
    options = {"tls": "off"} if request.param == "plain" else {}
    world = World(
        tmp_path_factory.mktemp(request.param),
        max_connections_per_address=str(MOST),
        uncounted_address=["127.0.0.1", PROXY],
        **options,
    )
    world.start_server()
    world.env["BURROW_TOKEN"] = world.token()
    yield world
    world.close()


def connect(port, address=STRANGER):
    """A connection; None if it was reset before we could look."""
    try:
        return socket.create_connection(("127.0.0.1", port), 10, source_address=(address, 0))
    except ConnectionResetError:
        return None


def kept(connections, within=0.3):
    """Which connections are open and silent after a while; the others were reset."""
    time.sleep(within)
    return [connection is not None and not was_reset(connection) for connection in connections]


def was_reset(connection):
    connection.setblocking(False)
    try:
        came = connection.recv(1)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    raise AssertionError(f"neither silent nor reset: {came!r}")


def is_kept(port):
    connection = connect(port)
    try:
        return kept([connection])[0]
    finally:
        close_all([connection])


def close_all(connections):
    for connection in filter(None, connections):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


def until_free(port):
    """Wait until the server gave all places of the stranger's back."""

    def all_kept():
        fresh = [connect(port) for _ in range(MOST)]
        try:
            return all(kept(fresh))
        finally:
            close_all(fresh)

    wait_for(all_kept, "the places")


@pytest.mark.parametrize("where", ["main", "http", "tcp"])
def test_address_has_so_many_connections_and_no_more(counting, tcp_upstream, where):
    agent = counting.agent("tcp", tcp_upstream(lambda connection: connection.recv(1)).port)
    port = {
        "main": counting.https if counting.tls else counting.http,
        "http": counting.http,
        "tcp": int(agent.ready()[0]["url"].rpartition(":")[2]),
    }[where]
    until_free(port)
    first = [connect(port) for _ in range(MOST)]
    assert kept(first) == [True] * MOST
    more = [connect(where) for where in (port, port, counting.http)]  # one count for all ports
    others = [connect(port, NEIGHBOUR), *(connect(port, PROXY) for _ in range(MOST + 1))]
    assert kept(first + more + others) == [True] * MOST + [False] * 3 + [True] * (MOST + 2)
    close_all(first[:1])
    wait_for(lambda: is_kept(port), "the place that was given back")
    close_all(first + more + others)
    lines = [line for line in counting.server.lines if f"{STRANGER} has {MOST} connections open" in line]
    assert len(lines) == 1  # told once a minute
    assert not [line for line in counting.server.lines if "Traceback" in line]


def test_agents_with_a_token_are_not_counted(counting, upstream):
    """Those without are: a WebSocket that shows none is any visitor's."""
    service = upstream(lambda handler: reply(handler, b"ok"))
    agent = counting.agent("http", service.port)
    host = agent.host
    port = counting.https if counting.tls else counting.http
    until_free(port)
    lines = (
        f"GET /_burrow/agent HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Sec-WebSocket-Protocol: burrow.yamux.v1\r\nAuthorization: Bearer {counting.env['BURROW_TOKEN']}\r\n"
        f"Burrow-Agent: stranger-%d\r\n\r\n"
    )
    agents = []
    for number in range(MOST + 2):
        agents.append(counting.connect("localhost", source=STRANGER))
        agents[-1].sendall((lines % number).encode())
        assert read_response(agents[-1])[0] == 101
    visitors = [counting.connect(host, source=STRANGER) for _ in range(MOST)]
    assert not is_kept(port)
    visitors[0].sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert read_response(visitors[0])[::2] == (200, b"ok")
    close_all(agents + visitors)
