"""Whose order is next: few are made at the same time, and of one token a part of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet.defer import DeferredSemaphore, TimeoutError

from burrow.certificates.acme.orders import ISSUE_TIMEOUT
from burrow.errors import Unavailable

ORDERS_AT_ONCE = 20
"""Certificates that are ordered at the same time for tunnels that open; further ones wait."""

AT_ONCE_OF_ONE = ORDERS_AT_ONCE // 4
"""Of those, the certificates of one token's names: its domains may let the CA wait as long as they want."""


_T = TypeVar("_T")


class Turns:
    """Bounded by its callers, who wait for C{ISSUE_TIMEOUT} seconds at most."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._room = DeferredSemaphore(ORDERS_AT_ONCE)
        self._of_token: dict[str, DeferredSemaphore] = {}

    async def take(self, token: str, order: Callable[[], Awaitable[_T]]) -> _T:
        """
        Call C{order} when it is its turn. @return: what it returns.

        @param token: the id of the token that owns the name; empty for the server's own.
        @raise Unavailable: its turn does not come in time.
        """
        if not token:
            return await self._in_room(order, ISSUE_TIMEOUT)
        ends = self._reactor.seconds() + ISSUE_TIMEOUT
        own = self._of_token.setdefault(token, DeferredSemaphore(AT_ONCE_OF_ONE))
        try:
            await self._acquire(own, ISSUE_TIMEOUT, "other certificates of this token")
            try:
                return await self._in_room(order, max(0.0, ends - self._reactor.seconds()))
            finally:
                own.release()
        finally:
            if own.tokens == own.limit and self._of_token.get(token) is own:
                del self._of_token[token]

    async def _in_room(self, order: Callable[[], Awaitable[_T]], within: float) -> _T:
        await self._acquire(self._room, within, "many certificates")
        try:
            return await order()
        finally:
            self._room.release()

    async def _acquire(self, room: DeferredSemaphore, within: float, what: str) -> None:
        try:
            await room.acquire().addTimeout(within, self._reactor)
        except TimeoutError as error:
            raise Unavailable(f"the server orders {what}; the agent tries again") from error
