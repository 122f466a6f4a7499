"""
An agent that is not ours: a WebSocket client, a yamux session over C{burrow.yamux.v1}, and AMP boxes written
by hand, as somebody would in another language, from docs/protocol.md.
"""

import socket
import struct
import threading
import time

import websocket

from burrow.wire.events import DataReceived, StreamOpened
from tests.e2e.harness import burrow, wait_for
from tests.wire.by_id import Yamux


def box(**fields):
    """An AMP box: keys and values behind two-byte lengths, and an empty key at the end."""
    data = b"".join(
        struct.pack("!H", len(part)) + part
        for key, value in fields.items()
        for part in (key.encode(), value.encode())
    )
    return data + b"\0\0"


def unbox(data):
    """The fields of a box, and what is behind it; None while it is not whole."""
    items, position = [], 0
    while position + 2 <= len(data):
        (length,) = struct.unpack_from("!H", data, position)
        position += 2
        if not length and len(items) % 2 == 0:
            return dict(zip(items[::2], items[1::2], strict=True)), data[position:]
        items.append(data[position : position + length].decode())
        position += length
    return None


class OtherAgent:
    """Opens one tunnel, and answers each visitor with what it was told of it."""

    def __init__(self, world, name, token=None, upstream="by hand"):
        self.socket = websocket.create_connection(
            f"wss://localhost:{world.https}/_burrow/agent",
            socket=world.connect("localhost"),
            header=[
                f"Authorization: Bearer {token or world.env['BURROW_TOKEN']}",
                "Burrow-Agent: another-kind",
            ],
            subprotocols=["burrow.yamux.v1"],
            timeout=30,
        )
        assert self.socket.getsubprotocol() == "burrow.yamux.v1"
        self.session = Yamux(client=True)
        self.data, self.answer, self.closed = {}, None, None
        control = self.session.open_stream()
        ask = box(_ask="1", _command="OpenTunnel", kind="http", upstream=upstream, name=name, later="ignored")
        self.session.send_data(control, ask)
        self.flush()
        self.thread = threading.Thread(target=self.run, args=(control,), daemon=True)
        self.thread.start()
        wait_for(lambda: self.answer, "the answer")

    def flush(self):
        while data := self.session.pull(1 << 16):
            self.socket.send_binary(data)

    def run(self, control):
        try:
            while True:
                opcode, message = self.socket.recv_data()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    self.closed = struct.unpack("!H", message[:2])[0], message[2:].decode()
                    return
                for event in self.session.receive_data(message):
                    if isinstance(event, StreamOpened):
                        self.data[event.stream_id] = b""
                    elif isinstance(event, DataReceived):
                        self.session.consumed(event.stream_id, len(event.data), time.monotonic())
                        self.data[event.stream_id] = self.data.get(event.stream_id, b"") + event.data
                        self.use(event.stream_id, control)
                self.flush()
        except (websocket.WebSocketException, OSError):
            pass

    def use(self, stream_id, control):
        whole = unbox(self.data[stream_id])
        if stream_id == control:
            if whole:
                self.answer = whole[0]
        elif whole and b"\r\n\r\n" in whole[1]:
            head, request = whole
            body = f"{head['tunnel']} {head['scheme']} {request.split(b' ')[1].decode()}".encode()
            self.session.send_data(
                stream_id, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            self.data[stream_id] = self.data[stream_id][: -len(request)]

    def cut(self):
        """End the connection without a good-bye."""
        self.socket.sock.shutdown(socket.SHUT_RDWR)
        # Closed when nobody reads it any more: the next connection gets the same number, and lost bytes.
        self.thread.join(30)
        self.socket.shutdown()


def test_agent_in_another_language(world):
    agent = OtherAgent(world, "foreign")
    assert agent.answer == {
        "_answer": "1",
        "tunnel": "foreign",
        "name": "foreign",
        "url": f"https://foreign.localhost:{world.https}",
    }
    for number in range(3):
        assert world.get("foreign.localhost", f"/{number}")[2] == f"foreign https /{number}".encode()
    agent.cut()


def test_what_an_agent_says_moves_no_terminal(world):
    """Neither in the log, nor in what the commands show."""
    agent = OtherAgent(world, "sly", upstream="up\x1b[2J\r\n2026-01-01T00:00:00+0000 error fake\x9b1m")
    agent.cut()
    state = world.folder / "state"
    wait_for(lambda: "tunnel-open" in shown("events", state), "the event")
    for text in (shown("events", state), shown("names", state, "list"), world.server.output):
        assert r"for up\x1b[2J\r\n2026" in text or r"up\x1b[2J\r\n2026" in text
        assert not {"\x1b", "\x9b"} & set(text)
        assert not any(line.startswith("2026-01-01T00:00:00+0000 error") for line in text.splitlines())


def shown(command, state, *arguments):
    program = burrow(command, *arguments, "--state", state)
    assert program.wait() == 0
    return program.output


def test_revoked_token_closes_the_session_with_a_word(world):
    agent = OtherAgent(world, "revoked-too", world.token("foreign"))
    assert world.get("revoked-too.localhost", "/before")[0] == 200
    revoke = burrow("token", "revoke", "foreign", "--state", world.folder / "state")
    assert revoke.wait() == 0
    agent.thread.join(5)
    why = "the token 'foreign' was revoked: ask the server's owner for another"
    assert agent.closed == (4001, why)
    assert world.get("revoked-too.localhost")[0] == 503


def test_visitor_waits_for_an_agent_that_cannot_resume(world):
    agent = OtherAgent(world, "foreign-too")
    agent.cut()
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(world.get("foreign-too.localhost", "/waited")))
    waiting.start()
    successor = OtherAgent(world, "foreign-too")
    waiting.join(15)
    assert answers[0][::2] == (200, b"foreign-too https /waited")
    successor.cut()
