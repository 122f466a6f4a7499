"""Invalid bytes from strangers, visitors and agents: each sender gets its error, others do not notice."""

import contextlib
import os
import socket
import ssl
import struct
from typing import NamedTuple

import pytest

from burrow.wire.frames import (
    DATA,
    GO_AWAY,
    HEADER_SIZE,
    PING,
    SYN,
    WINDOW_UPDATE,
    FrameReader,
    GoAwayCode,
    encode,
)
from burrow.wire.windows import INITIAL_WINDOW
from tests.e2e.harness import read_response, reply, wait_for


@pytest.fixture(scope="module")
def bystander(world):
    """A tunnel that must not notice anything."""
    from tests.e2e.harness import Upstream

    service = Upstream(lambda handler: reply(handler, b"fine"))
    agent = world.agent("http", service.port, "--name", "bystander")
    agent.ready()
    yield agent.host
    service.close()


@pytest.fixture(autouse=True)
def _nobody_else_notices(world, bystander):
    """One connection of another visitor's is open all the while, and works afterwards."""
    with world.connect(bystander) as visitor:
        request = f"GET / HTTP/1.1\r\nHost: {bystander}\r\n\r\n".encode()
        visitor.sendall(request)
        assert read_response(visitor)[2] == b"fine"
        yield
        visitor.sendall(request)
        assert read_response(visitor)[2] == b"fine"
    assert world.server.process.poll() is None
    assert "Traceback" not in world.server.output


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: {h}\r\nHost: {h}\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: {h}/../x\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: {h}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
        ("POST / HTTP/1.1\r\nHost: {h}\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
        ("POST / HTTP/1.1\r\nHost: {h}\r\nContent-Length: 1, 1\r\n\r\nx", 400),
        ("POST / HTTP/1.1\r\nHost: {h}\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: {h}\r\nContent-Length: +1\r\n\r\nx", 400),
        ("POST / HTTP/1.1\r\nHost: {h}\r\nContent-Length: 0x1\r\n\r\nx", 400),
        ("POST / HTTP/1.1\r\nHost: {h}\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: {h}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX", 400),
        ("POST / HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : {h}\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: {h}\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: {h}\r\nX: a\0b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: {h}\r\nBad Name: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: {h}\r\n: x\r\n\r\n", 400),
        ("GET relative HTTP/1.1\r\nHost: {h}\r\n\r\n", 400),
        ("GET / HTTP/9.9\r\nHost: {h}\r\n\r\n", 505),
        ("CONNECT x:443 HTTP/1.1\r\nHost: {h}\r\n\r\n", 405),
        ("BR(W / HTTP/1.1\r\nHost: {h}\r\n\r\n", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("GET /" + "x" * 20_000 + " HTTP/1.1\r\nHost: {h}\r\n\r\n", 414),
        ("GET / HTTP/1.1\r\nHost: {h}\r\nX: " + "x" * 100_000 + "\r\n\r\n", 431),
        ("GET / HTTP/1.1\r\nHost: {h}\r\n" + "X: y\r\n" * 200 + "\r\n", 431),
        ("GET / HTTP/1.1\r\nHost: {h}\r\n" + "X: y\r\n" * 100_000, 431),
    ],
)
def test_requests_that_cannot_be_passed_on(world, bystander, head, status):
    got, headers, _ = world.raw(bystander, head.replace("{h}", bystander).encode())
    assert (got, headers["Connection"]) == (status, "close")


def test_smuggled_request_reaches_nobody(world, bystander):
    """What follows a refused request on its connection is not read as another."""
    request = (
        f"POST / HTTP/1.1\r\nHost: {bystander}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        f"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: {bystander}\r\n\r\n"
    )
    with world.connect(bystander) as visitor:
        visitor.sendall(request.encode())
        data = b""
        while piece := visitor.recv(65536):
            data += piece
    assert data.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("named", ["Content-Length", "keep-alive, content-length, host, x-forwarded-for"])
def test_connection_takes_no_framing_away(world, upstream, tcp_upstream, named):
    """What would be a request of its own without the length arrives as a body; and so does an answer."""
    smuggled = "GET /smuggled HTTP/1.1\r\nHost: evil\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"
    asked = []

    def serve(handler):
        asked.append((handler.path, handler.headers["Host"], handler.headers["X-Forwarded-For"]))
        reply(handler, handler.rfile.read(int(handler.headers.get("Content-Length") or 0)))

    agent = world.agent("http", upstream(serve).port)
    with world.connect(agent.host) as visitor:
        for path in ("/one", "/two"):
            head = f"POST {path} HTTP/1.1\r\nHost: {agent.host}\r\nConnection: {named}\r\n"
            visitor.sendall(f"{head}Content-Length: {len(smuggled)}\r\n\r\n{smuggled}".encode())
            assert read_response(visitor)[2] == smuggled.encode()
    assert asked == [(path, agent.host, "127.0.0.1") for path in ("/one", "/two")]
    agent.program.stop()

    answer = b"HTTP/1.1 200 OK\r\nConnection: " + named.encode() + b"\r\nContent-Length: 4\r\n\r\nfour"
    again = world.agent(
        "http", tcp_upstream(lambda connection: connection.recv(65536) and connection.sendall(answer)).port
    )
    assert world.raw(again.host, f"GET / HTTP/1.1\r\nHost: {again.host}\r\n\r\n".encode())[2] == b"four"
    again.program.stop()


@pytest.mark.parametrize("size", [1, 10, 1000, 100_000])
def test_random_bytes_on_both_ports(world, size):
    alert = b"\x15\x03\x01\x00\x02\x02\x32"
    for port, answers in ((world.https, (alert, b"")), (world.http, (b"HTTP/1.1 4",))):
        with socket.create_connection(("127.0.0.1", port), 20) as stranger:
            data = b""
            with contextlib.suppress(ConnectionError):  # it may be ended before all is sent
                stranger.sendall(b"\xff" + os.urandom(size) + b"\r\n\r\n")
            with contextlib.suppress(ConnectionError):  # a reset ends it, too; silence does not
                while piece := stranger.recv(65536):
                    data += piece
        assert data.startswith(answers[0]) or data in answers


def test_plain_http_on_the_tls_port(world):
    with socket.create_connection(("127.0.0.1", world.https), 20) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"https://" in read_response(stranger)[2]


def test_half_a_hello_and_half_a_head_cost_a_bounded_time(make_world):
    world = make_world(idle_timeout="1")
    with socket.create_connection(("127.0.0.1", world.https), 30) as stranger:
        stranger.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
        with pytest.raises(ConnectionResetError):
            stranger.recv(100)

    def end(sent):
        """What a connection gets that sends this and no more; None if this machine stalled before."""
        try:
            with world.connect("localhost") as visitor:
                visitor.sendall(sent)
                return visitor.recv(100) or b"closed"
        except (ConnectionError, ssl.SSLError):
            return None

    wait_for(lambda: (end(b"GET / HTTP/1.1\r\nHost: x") or b"").startswith(b"HTTP/1.1 408 "), "a 408")
    assert wait_for(lambda: end(b""), "the end of an idle connection") == b"closed"


def test_answers_that_are_no_answers(world, tcp_upstream):
    for answer in (
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000 + b"\r\n\r\n",
        b"",
    ):
        agent = world.agent(
            "http",
            tcp_upstream(
                lambda connection, answer=answer: connection.recv(65536) and connection.sendall(answer)
            ).port,
        )
        assert world.get(agent.host)[0] == 502, answer[:40]
        agent.program.stop()


def test_second_answer_that_nobody_asked_for_meets_no_other_request(world, tcp_upstream):
    def serve(connection):
        while connection.recv(65536):
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
                b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
            )

    agent = world.agent("http", tcp_upstream(serve).port)
    with world.connect(agent.host) as visitor:
        for _ in range(5):
            visitor.sendall(f"GET / HTTP/1.1\r\nHost: {agent.host}\r\n\r\n".encode())
            assert read_response(visitor)[2] == b"one"


# -- agents that break the protocol ------------------------------------------------------------------------


class Frame(NamedTuple):
    """See L{burrow.wire.frames.Frame}."""

    kind: int
    flags: int
    stream_id: int
    value: int
    payload: bytes


class RawAgent:
    """A WebSocket client that shows a good token and then sends what it likes."""

    def __init__(self, world, **headers):
        import websocket

        fields = {
            "Authorization": f"Bearer {world.env['BURROW_TOKEN']}",
            "Burrow-Agent": "raw-agent-1",
            **headers,
        }
        self.socket = websocket.create_connection(
            f"wss://localhost:{world.https}/_burrow/agent",
            socket=world.connect("localhost"),
            header=[f"{name}: {value}" for name, value in fields.items()],
            subprotocols=["burrow.yamux.v1"],
            timeout=20,
        )
        self.reader = FrameReader()
        self.frames = []

    def send(self, data):
        self.socket.send_binary(data)

    def until(self, found):
        """Read frames until one fits; None when the connection ends first."""
        import websocket

        try:
            while True:
                for frame in self.frames:
                    if found(frame):
                        return frame
                self.frames += [Frame(*each) for each in self.reader.receive(self.socket.recv())]
        except (websocket.WebSocketException, OSError, TypeError):
            return next((frame for frame in self.frames if found(frame)), None)


def went_away(frame):
    return frame.kind == GO_AWAY and frame.value == GoAwayCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 100,
        encode(WINDOW_UPDATE, SYN, 2, 0),
        encode(DATA, SYN, 1, INITIAL_WINDOW + 1) + bytes(INITIAL_WINDOW + 1),
        encode(WINDOW_UPDATE, SYN, 1, 0) * 2,
    ],
)
def test_breach_gets_a_go_away(world, data):
    agent = RawAgent(world)
    agent.send(data)
    assert agent.until(went_away)


def test_half_a_frame_and_a_frame_for_an_unknown_stream_hurt_nobody(world):
    agent = RawAgent(world)
    agent.send(encode(DATA, 0, 77, 3) + b"abc")
    assert agent.until(lambda frame: frame.stream_id == 77 and frame.flags & 8)
    ping = encode(PING, SYN, 0, 12345)
    agent.send(ping[:5])
    agent.send(ping[5:])
    assert agent.until(lambda frame: frame.kind == PING and frame.value == 12345)
    agent.send(encode(PING, SYN, 0, 1)[: HEADER_SIZE // 2])
    agent.socket.sock.close()


def test_text_messages_are_refused(world):
    agent = RawAgent(world)
    agent.socket.send("hello")
    opcode = 0
    while opcode != 8:
        opcode, data = agent.socket.recv_data()
    assert struct.unpack("!H", data[:2]) == (4003,)


def test_nonsense_on_the_second_stream(world):
    """A stream after the first names a private tunnel in a box; anything else resets it."""
    agent = RawAgent(world)
    agent.send(encode(WINDOW_UPDATE, SYN, 1, 0) + encode(DATA, SYN, 3, 300) + b"\xff" * 300)
    assert agent.until(lambda frame: frame.stream_id == 3 and frame.flags & 8)


def test_nonsense_on_the_control_channel(world):
    agent = RawAgent(world)
    agent.send(encode(DATA, SYN, 1, 300) + b"\xff" * 300)
    assert agent.until(lambda frame: frame.stream_id == 1 and frame.flags & (4 | 8))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, 401),
        ({"Authorization": ""}, 401),
        ({"Burrow-Agent": "short"}, 400),
        ({"Burrow-Agent": "with space and more"}, 400),
    ],
)
def test_handshakes_that_are_refused(world, headers, status):
    import websocket

    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        RawAgent(world, **headers)
    assert caught.value.status_code == status
    assert b'"error"' in caught.value.resp_body
    if status == 401:
        assert "www-authenticate" in caught.value.resp_headers


def test_handshake_without_our_subprotocol(world):
    import websocket

    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        websocket.create_connection(
            f"wss://localhost:{world.https}/_burrow/agent",
            socket=world.connect("localhost"),
            header=[f"Authorization: Bearer {world.env['BURROW_TOKEN']}"],
            timeout=20,
        )
    assert caught.value.status_code == 400


def test_message_larger_than_may_be(world):
    import websocket

    agent = RawAgent(world)
    closed = (websocket.WebSocketConnectionClosedException, ConnectionError, ssl.SSLEOFError)
    with contextlib.suppress(*closed):
        agent.send(bytes(5 * 1024 * 1024))
    # It is closed (RFC 6455 section 7.4.1: 1009), or reset with the message unread; silence is a time-out.
    code = 1009
    with contextlib.suppress(*closed):
        opcode = 0
        while opcode != 8:
            opcode, data = agent.socket.recv_data()
        (code,) = struct.unpack("!H", data[:2])
    assert code == 1009
    smaller = RawAgent(world)
    size = 4 * 1024 * 1024 - HEADER_SIZE
    smaller.send(encode(DATA, 0, 77, size) + bytes(size))
    assert smaller.until(lambda frame: frame.stream_id == 77 and frame.flags & 8)
