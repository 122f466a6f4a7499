"""For suites that speak plain HTTP/1.1 alone: what they send reaches a server by TLS, or by HTTP/2."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from base64 import b64encode
from collections.abc import Coroutine
from hashlib import sha1

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_PIECE = 1 << 16
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_OF_HTTP1 = {b"host", b"connection", b"upgrade", b"sec-websocket-key"}


class Relay:
    """
    Listens on the loopback, and serves each connection by C{serve(near, far)}, C{far} being one to the
    server's TLS port for C{host}. It has a thread and a loop of its own.

    @ivar port: where it listens.
    """

    alpn = ("http/1.1",)

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        self._where = host, port
        context.set_alpn_protocols(list(self.alpn))
        self._context = context
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.Task[None]] = set()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._run(self._listen())

    def _run(self, coroutine: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _listen(self) -> None:
        self._listening = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port: int = self._listening.sockets[0].getsockname()[1]

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)  # asyncio itself refers to it weakly: it would be lost in the middle
        task.add_done_callback(self._open.discard)
        host, port = self._where
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            far = await asyncio.open_connection(
                "127.0.0.1", port, ssl=self._context, server_hostname=host, limit=_PIECE
            )
            try:
                await self.serve((reader, writer), far)
            finally:
                far[1].close()
        writer.close()

    async def serve(self, near: Pair, far: Pair) -> None:
        """Bytes both ways. The far end's last bytes have arrived before the near end is closed."""
        there = asyncio.ensure_future(_copy(near[0], far[1]))
        back = asyncio.ensure_future(_copy(far[0], near[1]))
        try:
            # TLS of asyncio has no half: whichever side ends, ends both.
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            there.cancel()
            back.cancel()

    def close(self) -> None:
        """Stop, and end what is open."""
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _end(self) -> None:
        self._listening.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)


class Http2Relay(Relay):
    """Each WebSocket comes to the server as an extended CONNECT (RFC 8441), on a connection of its own."""

    alpn = ("h2",)

    async def serve(self, near: Pair, far: Pair) -> None:
        head = await near[0].readuntil(b"\r\n\r\n")
        await _Http2WebSocket(head, self._where, near, far).run()


class _Http2WebSocket:
    """One WebSocket between HTTP/1.1 and a stream of HTTP/2. @ivar changed: set when anything has come."""

    def __init__(self, head: bytes, where: tuple[str, int], near: Pair, far: Pair) -> None:
        first, *fields = head[:-4].split(b"\r\n")
        self._path = first.split(b" ")[1]
        self._fields = [
            (name.lower(), value.strip()) for name, _, value in (f.partition(b":") for f in fields)
        ]
        self._authority = "{}:{}".format(*where).encode()
        self._near, self._far = near, far
        self._h2 = H2Connection(H2Configuration(header_encoding=None))
        self._stream = 0
        self._open = False
        self._ended = False
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """From the first frame to the last."""
        self._h2.initiate_connection()
        await self._flush()
        reading = asyncio.ensure_future(self._read())
        try:
            while not self._open and not self._ended:
                await self._change()
            if self._open and not self._ended:
                sending = asyncio.ensure_future(self._send())
                await asyncio.wait({reading, sending}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done() and not sending.exception() and not self._ended:
                    await asyncio.wait({reading}, timeout=10)  # the rest of what the server says
                sending.cancel()
        finally:
            reading.cancel()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _flush(self) -> None:
        self._far[1].write(self._h2.data_to_send())
        await self._far[1].drain()

    async def _read(self) -> None:
        while not self._ended:
            data = await self._far[0].read(_PIECE)
            if not data:
                self._ended = True
            for event in self._h2.receive_data(data) if data else []:
                await self._heard(event)
            # Without waiting: a server that is not read does not read either.
            self._far[1].write(self._h2.data_to_send())
            self._changed.set()

    async def _heard(self, event: object) -> None:
        if isinstance(event, RemoteSettingsChanged) and not self._stream:
            self._ask()
        elif isinstance(event, ResponseReceived):
            self._near[1].write(self._answer(event.headers))
            self._open = True
        elif isinstance(event, DataReceived):
            self._near[1].write(event.data)
            await self._near[1].drain()
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, (StreamEnded, StreamReset, ConnectionTerminated)):
            self._ended = True
        elif isinstance(event, WindowUpdated):
            self._changed.set()

    def _ask(self) -> None:
        self._stream = self._h2.get_next_available_stream_id()
        fields = [(name, value) for name, value in self._fields if name not in _OF_HTTP1]
        pseudo = {
            b":method": b"CONNECT",
            b":protocol": b"websocket",
            b":scheme": b"https",
            b":path": self._path,
            b":authority": self._authority,
        }
        self._h2.send_headers(self._stream, [*pseudo.items(), *fields])

    def _answer(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        (key,) = (value for name, value in self._fields if name == b"sec-websocket-key")
        status = dict(headers)[b":status"]
        lines = [b"HTTP/1.1 " + (b"101 Switching Protocols" if status == b"200" else status + b" no")]
        if status == b"200":
            accept = b64encode(sha1(key + _MAGIC).digest())
            lines += [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: " + accept]
        lines += [name + b": " + value for name, value in headers if not name.startswith(b":")]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    async def _send(self) -> None:
        while data := await self._near[0].read(_PIECE):
            while data:
                room = min(self._h2.local_flow_control_window(self._stream), self._h2.max_outbound_frame_size)
                if not room:
                    await self._change()
                    continue
                self._h2.send_data(self._stream, data[:room])
                data = data[room:]
                await self._flush()
        self._h2.end_stream(self._stream)
        await self._flush()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_PIECE):
        writer.write(data)
        await writer.drain()
