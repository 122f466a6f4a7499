"""What the app's loop and all kinds of apps have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from burrow.program.exchange import Exchange

Event = dict[str, Any]
"""What an ASGI app receives and sends."""


class Changes:
    """Wakes the coroutines of a loop that wait for an exchange."""

    def __init__(self, loop: asyncio.AbstractEventLoop, exchange: Exchange) -> None:
        self._loop = loop
        self._waiters: list[asyncio.Future[None]] = []
        self._exchange = exchange
        exchange.on_change = self._changed

    def _changed(self) -> None:
        if self._waiters:
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:  # the loop is closed, and nobody waits there
                return

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it is so, or the visitor has left."""
        while True:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.append(waiter)  # before it is looked: what changes in between wakes it
            if self._exchange.gone or condition():
                self._waiters = [each for each in self._waiters if each is not waiter]
                return
            await waiter


def scope_of(exchange: Exchange, kind: str, scheme: str) -> Event:
    """
    What HTTP and WebSocket have in common.

    The specification is 2.3: to an app of 2.4 only a C{send} says that the visitor has left (Starlette then
    listens for nothing), and one that sends nothing for long would go on for nobody.
    """
    head = exchange.head
    path, _, query = head.target.partition(b"?")
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "scheme": scheme,
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in head.headers.fields],
        "client": exchange.visitor,
        "server": server_of(exchange),
    }


def server_of(exchange: Exchange) -> tuple[str, int]:
    """The host and port that the visitor asked for."""
    head = exchange.head
    port = head.authority.rpartition(b":")[2]
    default = 443 if exchange.scheme == "https" else 80
    return head.host, int(port) if port.isdigit() and b":" in head.authority else default
