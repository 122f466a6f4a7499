"""
WebSockets of ASGI apps (RFC 6455), framed by wsproto. Without extensions: a compressed message may unpack to
any size.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import io
from collections import deque
from typing import Any

from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, ParseFailed

from burrow.program.answer import BadAnswer, checked, head_bytes
from burrow.program.exchange import LIMIT, Exchange
from burrow.program.scopes import Changes, Event, scope_of

MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes of a message, at most."""

COSTS = 64
"""Bytes that a message counts for beside its own while it waits: a visitor may send empty ones."""

CLOSE_WITHIN = 5.0
"""Seconds that the visitor may take to answer a close frame."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class WebSocketExchange:
    """One WebSocket. @ivar complete: whether the app has closed or refused it, or the visitor closed it."""

    def __init__(self, exchange: Exchange, changes: Changes) -> None:
        self._exchange = exchange
        self._changes = changes
        self._frames = FrameProtocol(client=False, extensions=[])
        self._connected = False
        self._accepted = False
        self._closed: tuple[int, str] | None = None  # what the visitor said
        self._closing = False
        self._begun = io.BytesIO()  # what has come of a message: a list of its parts might be of empty ones
        self._messages: deque[str | bytes] = deque()
        self._waiting = 0
        self._room = asyncio.Event()
        self._told = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self.complete = False

    def possible(self) -> bool:
        """Whether the handshake is one; else it is refused."""
        headers = self._exchange.head.headers
        try:
            key = base64.b64decode(headers.value(b"sec-websocket-key"), validate=True)
        except binascii.Error:
            key = b""
        if headers.value(b"sec-websocket-version") == b"13" and len(key) == 16:
            return True
        self._refuse(400, "Bad Request")
        return False

    def scope(self) -> Event:
        """What the app is called with."""
        scheme = "wss" if self._exchange.scheme == "https" else "ws"
        offered = self._exchange.head.headers.get(b"sec-websocket-protocol", ())
        names = [name.strip().decode("latin-1") for value in offered for name in value.split(b",")]
        return {**scope_of(self._exchange, "websocket", scheme), "subprotocols": names}

    async def receive(self) -> Event:
        """The next message; or that the WebSocket is closed."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        while not self._messages and self._closed is None:
            self._told.clear()
            await self._told.wait()
        if self._messages:
            message = self._messages.popleft()
            self._waiting -= len(message) + COSTS
            if self._waiting <= LIMIT:
                self._room.set()
            key = "text" if isinstance(message, str) else "bytes"
            return {"type": "websocket.receive", key: message}
        assert self._closed is not None
        code, reason = self._closed
        return {"type": "websocket.disconnect", "code": code, "reason": reason}

    async def send(self, event: Event) -> None:
        """What the app says. @raise OSError: the visitor has left."""
        exchange = self._exchange
        kind = event["type"]
        if exchange.gone or (self._closed is not None and kind == "websocket.send"):
            raise OSError("the visitor has left")
        if kind == "websocket.accept" and not self._accepted and not self.complete:
            self._accept(event)
        elif kind == "websocket.close" and not self.complete:
            if not self._accepted:
                self._refuse(403, "Forbidden")
            else:
                self._close(event.get("code", 1000), event.get("reason") or "")
        elif kind == "websocket.send" and self._accepted and not self.complete:
            text = event.get("text")
            exchange.send(bytes(self._frames.send_data(event["bytes"] if text is None else text)))
            if exchange.full:
                await self._changes.until(lambda: not exchange.full)
        else:
            raise BadAnswer(f"{kind} is not possible here")

    def failed(self) -> None:
        """The app failed: the status 500 or the close code 1011."""
        if not self._accepted:
            self._refuse(500, "Internal Server Error")
        elif not self.complete:
            self._close(1011, "")

    def over(self) -> None:
        """The app has returned."""
        if self._reading is None:
            return
        if self._closed is not None or self._exchange.gone:
            self._reading.cancel()
        else:
            asyncio.get_running_loop().call_later(CLOSE_WITHIN, self._reading.cancel)

    # -- what is sent ---------------------------------------------------------------------------------------

    def _accept(self, event: Event) -> None:
        key = self._exchange.head.headers.value(b"sec-websocket-key")
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        fields = [
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Accept", accept),
            *checked(event.get("headers", ())),
        ]
        if event.get("subprotocol"):
            fields += checked([(b"Sec-WebSocket-Protocol", event["subprotocol"].encode())])
        self._exchange.send(head_bytes(101, "Switching Protocols", fields))
        self._accepted = True
        self._reading = asyncio.get_running_loop().create_task(self._read())

    def _refuse(self, status: int, reason: str) -> None:
        fields = [(b"Content-Length", b"0"), (b"Connection", b"close")]
        self.complete = True
        self._exchange.send(head_bytes(status, reason, fields), last=True)

    def _close(self, code: int, reason: str) -> None:
        self.complete = self._closing = True
        self._exchange.send(bytes(self._frames.close(code, reason)), last=self._closed is not None)

    # -- what comes -----------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Read frames until the end, no faster than the app takes messages."""
        exchange = self._exchange
        try:
            while self._closed is None:
                await self._changes.until(lambda: exchange.left or not exchange.empty)
                if exchange.empty:  # the visitor has left, or closed its half without a close frame
                    break
                self._frames.receive_bytes(exchange.take())
                for frame in self._frames.received_frames():
                    self._take(frame)
                while self._waiting > LIMIT and not self._closing:
                    self._room.clear()
                    await self._room.wait()
                # Each ping is answered: who reads no answer is read no more.
                await self._changes.until(lambda: not exchange.full)
        except ParseFailed as error:
            self._broken(int(error.code), str(error))
        finally:
            self._ended()

    def _take(self, frame: Any) -> None:
        if frame.opcode is Opcode.PING:
            self._exchange.send(bytes(self._frames.pong(frame.payload)))
        elif frame.opcode is Opcode.CLOSE:
            code, reason = frame.payload
            self._closed = int(code), reason or ""
            if not self._closing:
                answer = None if code == CloseReason.NO_STATUS_RCVD else code
                self._exchange.send(bytes(self._frames.close(answer)))
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._part(frame)

    def _part(self, frame: Any) -> None:
        text = frame.opcode is Opcode.TEXT
        self._begun.write(frame.payload.encode() if text else frame.payload)
        if self._begun.tell() > MAX_MESSAGE:
            raise ParseFailed("the message is too large", CloseReason.MESSAGE_TOO_BIG)
        if not frame.message_finished:
            return
        whole = self._begun.getvalue()
        self._begun = io.BytesIO()
        if not self._closing:
            self._messages.append(whole.decode() if text else whole)
            self._waiting += len(self._messages[-1]) + COSTS
            self._told.set()

    def _broken(self, code: int, reason: str) -> None:
        """The visitor breaks the protocol."""
        self._closed = code, reason
        if not self._closing:
            self._exchange.send(bytes(self._frames.close(code, reason)))

    def _ended(self) -> None:
        """Nothing more is read."""
        if self._closed is None:
            self._closed = 1006, ""
        self.complete = True
        self._told.set()
        self._exchange.send(b"", last=True)
