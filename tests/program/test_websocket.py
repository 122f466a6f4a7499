"""Tests for L{burrow.program.websocket}: what a hostile visitor can have it hold."""

import asyncio
import base64
import tracemalloc

import pytest
from wsproto.frame_protocol import FrameProtocol

from burrow.http.request_head import RequestReader
from burrow.program import websocket
from burrow.program.exchange import LIMIT, Exchange
from burrow.program.scopes import Changes
from burrow.program.websocket import COSTS, WebSocketExchange

HEAD = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n"
)


class Stream:
    """Takes what is sent at once, unless it is paused. @ivar sent: bytes so far."""

    def __init__(self):
        self.reactor = self
        self.paused = False
        self.sent = 0

    def callFromThread(self, function, *arguments):
        function(*arguments)

    def flush(self, exchange):
        self.sent += len(exchange.outgoing())

    def take_more(self, exchange):
        """There is room for more of the request."""


class Visit:
    """An accepted WebSocket, whose visitor is the test."""

    def __init__(self):
        self.stream = Stream()
        head, _ = RequestReader().feed(HEAD)
        self.exchange = Exchange(self.stream, head, ("::1", 5000), "http")
        self.socket = WebSocketExchange(self.exchange, Changes(asyncio.get_running_loop(), self.exchange))
        self.frames = FrameProtocol(client=True, extensions=[])

    async def accept(self):
        assert (await self.socket.receive())["type"] == "websocket.connect"
        await self.socket.send({"type": "websocket.accept"})

    async def say(self, data):
        """The visitor sends, and all that can happen does. @return: whether it was read."""
        self.exchange.feed(data)
        for _ in range(10):
            await asyncio.sleep(0)
        return self.exchange.empty


def visited(scene):
    async def main():
        visit = Visit()
        await visit.accept()
        await scene(visit)
        visit.exchange.lose()
        visit.socket.over()

    asyncio.run(main())


@pytest.mark.parametrize("message", ["", b"", "x", b"\0"])
def test_messages_that_the_app_does_not_take_are_bounded_however_short(message):
    async def scene(visit):
        one = bytes(visit.frames.send_data(message))
        while await visit.say(one * 100):
            assert len(visit.socket._messages) <= LIMIT // COSTS + 100
        key = "text" if isinstance(message, str) else "bytes"
        assert await visit.socket.receive() == {"type": "websocket.receive", key: message}
        for _ in range(len(visit.socket._messages)):
            await visit.socket.receive()
        assert await visit.say(b"")  # it is read again

    visited(scene)


def test_pings_of_a_visitor_that_takes_no_answers_are_read_no_more():
    async def scene(visit):
        ping = bytes(visit.frames.ping(bytes(100)))
        assert await visit.say(ping)
        visit.stream.paused = True
        before = visit.stream.sent
        while await visit.say(ping * 100):
            assert visit.stream.sent - before < LIMIT
        visit.stream.paused = False
        visit.exchange.change()
        assert await visit.say(b"")

    visited(scene)


@pytest.mark.parametrize(("text", "part"), [(True, ""), (False, b""), (True, "x"), (False, b"x")])
def test_message_in_many_parts_takes_as_much_as_its_bytes(text, part):
    async def scene(visit):
        empty = "" if text else b""
        first = bytes(visit.frames.send_data("é" if text else b"\xe9", fin=False))
        assert await visit.say(first)
        more = bytes(visit.frames.send_data(part, fin=False)) * 1000
        assert await visit.say(more)
        tracemalloc.start()
        for _ in range(20):
            assert await visit.say(more)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held < 50_000 + 2 * 21_000 * len(part)
        assert await visit.say(bytes(visit.frames.send_data(empty, fin=True)))
        (message,) = visit.socket._messages
        assert message == ("é" if text else b"\xe9") + part * 21_000

    visited(scene)


def test_message_that_is_too_large(monkeypatch):
    monkeypatch.setattr(websocket, "MAX_MESSAGE", 1000)

    async def scene(visit):
        for _ in range(1001):
            await visit.say(bytes(visit.frames.send_data(b"x", fin=False)))
        assert (await visit.socket.receive())["code"] == 1009

    visited(scene)
