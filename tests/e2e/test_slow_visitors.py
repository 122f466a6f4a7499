"""Visitors that are slow, quiet, or never read: who is ended, and who is not."""

import contextlib
import signal
import socket
import struct
import time

import pytest

from burrow.server.waiting import MAX_PER_TUNNEL
from tests.e2e.harness import World, memory, read_response, reply, send_bytes, wait_for

RATE, WINDOW = 10_000, 2
BRISK = 80_000
"""Bytes a second of a visitor that is fast enough, also when this machine has much else to do."""
LATE = 3 * WINDOW + 4
"""Seconds by which a slow visitor has been ended."""


@pytest.fixture(scope="module", params=["plain", "tls"])
def strict(request, tmp_path_factory):
    """A world that asks much of its visitors, first without TLS, then with it."""
    options = {"tls": "off"} if request.param == "plain" else {}
    folder = tmp_path_factory.mktemp(request.param)
    world = World(folder, min_rate=str(RATE), min_rate_window=str(WINDOW), hold="30", **options)
    world.start_server()
    world.env["BURROW_TOKEN"] = world.token()
    yield world
    world.close()


def ended(visitor, within=LATE):
    """Whether the connection ends in time; what comes before is dropped."""
    visitor.settimeout(within)
    try:
        while visitor.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


@pytest.mark.parametrize("sent", [b"", b"x" * 1000])
def test_slow_body_is_ended(strict, tcp_upstream, sent):
    ends = []

    def serve(connection):
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                pass
        ends.append(time.monotonic())

    agent = strict.agent("http", tcp_upstream(serve).port)
    with strict.connect(agent.host) as visitor:
        visitor.sendall(f"POST / HTTP/1.1\r\nHost: {agent.host}\r\nContent-Length: 100000\r\n\r\n".encode())
        visitor.settimeout(0.3)
        answer = b""
        ends_at = time.monotonic() + LATE
        while b"\r\n\r\n" not in answer:
            assert time.monotonic() < ends_at
            # In one thread: those of ssl are not made for two that read and write.
            with contextlib.suppress(TimeoutError):
                answer += visitor.recv(65536)
                continue
            if sent:
                visitor.sendall(sent)
        assert answer.startswith(b"HTTP/1.1 408 ")
    wait_for(lambda: ends, "the end at the upstream", 10)


def test_body_at_the_least_rate_is_not_ended(strict, upstream):
    def answer(handler):
        handler.rfile.read(int(handler.headers["Content-Length"]))
        reply(handler, b"ok")

    agent = strict.agent("http", upstream(answer).port)
    size = BRISK * WINDOW * 2
    with strict.connect(agent.host) as visitor:
        head = f"POST / HTTP/1.1\r\nHost: {agent.host}\r\nContent-Length: {size}\r\n\r\n"
        visitor.sendall(head.encode())
        for _ in range(20):
            visitor.sendall(b"x" * (size // 20))
            time.sleep(WINDOW / 10)
        assert read_response(visitor)[::2] == (200, b"ok")


def test_slow_reader_is_ended(strict, upstream):
    agent = strict.agent("http", upstream(lambda handler: send_bytes(handler, 1 << 26, bytes(65536))).port)
    with strict.connect(agent.host) as visitor:
        visitor.sendall(f"GET / HTTP/1.1\r\nHost: {agent.host}\r\n\r\n".encode())
        size = len(visitor.recv(1000))
        time.sleep(LATE)
        visitor.settimeout(20)
        with contextlib.suppress(OSError):
            while piece := visitor.recv(65536):
                size += len(piece)
        assert size < 1 << 26


def test_reader_at_the_least_rate_is_not_ended(strict, upstream):
    agent = strict.agent("http", upstream(lambda handler: send_bytes(handler, 1 << 24, bytes(65536))).port)
    size = 0

    def receive(count):
        nonlocal size
        size += len(visitor.recv(count) or pytest.fail(f"the connection was ended after {size} bytes"))

    with strict.connect(agent.host, receive_buffer=16384) as visitor:
        visitor.sendall(f"GET / HTTP/1.1\r\nHost: {agent.host}\r\n\r\n".encode())
        started = time.monotonic()
        while time.monotonic() - started < LATE:
            receive(BRISK // 20)
            time.sleep(0.05)
        late = size
        while size < late + (1 << 18):  # it goes on: what is left would take long through so small a window
            receive(1 << 18)


def test_quiet_connections_are_not_ended(strict, tcp_upstream):
    """An event stream, a long poll and a WebSocket on which nothing happens for several windows."""

    def serve(connection):
        head = connection.recv(65536)
        if b"/events" in head:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
            time.sleep(LATE)
            connection.sendall(b"data: 2\n\n")
        elif b"/poll" in head:
            time.sleep(LATE)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        elif b"/upload" in head:
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            connection.sendall(b"5\r\n%b\r\n0\r\n\r\n" % connection.recv(65536)[:5])
        else:
            connection.sendall(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            connection.sendall(connection.recv(100))

    agent = strict.agent("http", tcp_upstream(serve).port)
    host = agent.host
    asked = {
        "/events": "",
        "/poll": "Content-Length: 0\r\n",
        "/upload": "Content-Length: 5\r\n",
        "/socket": "Connection: Upgrade\r\nUpgrade: websocket\r\n",
    }
    with contextlib.ExitStack() as stack:
        visitors = {path: stack.enter_context(strict.connect(host)) for path in asked}
        for path, fields in asked.items():
            visitors[path].sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
        time.sleep(LATE)
        visitors["/upload"].sendall(b"later")  # the upstream has begun to answer: its time is the upstream's
        visitors["/socket"].sendall(b"hello")
        for path, last in (
            ("/events", b"data: 2\n\n"),
            ("/poll", b"ok"),
            ("/upload", b"later\r\n0\r\n\r\n"),
            ("/socket", b"hello"),
        ):
            data = b""
            while last not in data:
                piece = visitors[path].recv(65536)
                assert piece, (path, data)
                data += piece


def test_pages_that_are_never_read_cost_bounded_memory(strict):
    """Requests in a row for a page of the server's own."""
    host = "localhost"
    one = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    strict.connect(host).close()
    before = memory(strict.workers[0])
    sent = 0
    with strict.connect(host) as visitor:
        visitor.settimeout(1)
        with contextlib.suppress(OSError):  # the server reads no more, or has ended it
            while sent < 20_000_000:
                sent += visitor.send(one * 1000)
        assert memory(strict.workers[0]) - before < 8_000_000
        time.sleep(LATE)
        assert ended(visitor, 5)
    assert sent < 20_000_000


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_visitors_who_left_hold_no_places(strict, upstream, leave):
    service = upstream(lambda handler: reply(handler, b"back"))
    agent = strict.agent("http", service.port, "--name", f"hold-{leave}")
    host = agent.host
    agent.program.kill(signal.SIGKILL)
    time.sleep(0.5)
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    for _ in range(MAX_PER_TUNNEL + 1):
        gone = strict.connect(host)
        gone.sendall(request)
        if leave == "reset":
            time.sleep(0.005)
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()
    with strict.connect(host) as visitor:
        visitor.sendall(request)
        visitor.settimeout(1)
        with pytest.raises(TimeoutError):
            visitor.recv(1)  # it waits, and is not told that the agent is away
        visitor.settimeout(30)
        strict.agent("http", service.port, "--name", f"hold-{leave}").ready()
        assert read_response(visitor)[::2] == (200, b"back")
