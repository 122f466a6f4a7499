"""
Who asks: the token behind a request to the admin API or the dashboard.

A token comes as `Authorization: Bearer TOKEN` (RFC 6750 section 2.1), or was shown when a person signed in
to the dashboard, whose cookie stands for it (C{Authenticator.cookies}). Its record is read from the store for
each request, so a token that was revoked is worth nothing at once.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attr

from burrow.errors import StoreError
from burrow.link.accept import bearer
from burrow.server.admin.problems import Problem, needs_role, no_token, store_away, wrong_token
from burrow.server.admin.wrong import WrongTokens
from burrow.store.base import ROLES, IStore, Token
from burrow.store.tokens import check_token, note_use

_T = TypeVar("_T")


@attr.frozen
class Principal:
    """
    Who asks.

    @ivar id: the token's id. @ivar name: its name. @ivar role: its role: "agent", "viewer" or "admin".
    @ivar digest: of its secret; it tells whether the token is still the one that was shown.
    @ivar sign_in: the key of the note of its sign-in to the dashboard; empty if it showed the token itself.
    """

    id: str
    name: str
    role: str
    digest: bytes = attr.field(repr=False)
    sign_in: str = attr.field(default="", repr=False)

    @classmethod
    def of(cls, token: Token) -> Principal:
        """Who has a token."""
        return cls(token.id, token.name, token.role, token.digest)

    @property
    def sees_all(self) -> bool:
        """Whether it may see what is not its own."""
        return self.role != "agent"

    def may(self, role: str) -> bool:
        """Whether its role is at least C{role}."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def require(self, role: str) -> None:
        """@raise Problem: its role is less than C{role}."""
        if not self.may(role):
            raise needs_role(role, self.role)


class Authenticator:
    """
    @param wrong: counts wrong tokens.
    @ivar signed_in: tells whether a sign-in still lasts, by the key of its note. To be set by the dashboard.
    @ivar cookies: tells who signed in, from a request without an Authorization field: a L{Principal}, or None
        if its cookie is none or not good any more. It raises L{Problem} for a request that a page of another
        origin may have caused (CSRF), beside what L{principal} refuses. To be set by the dashboard.
    """

    def __init__(self, store: IStore, wrong: WrongTokens, now: Callable[[], float] = time.time) -> None:
        self.cookies: Callable[[Any], Awaitable[Principal | None]] | None = None
        self.signed_in: Callable[[str], Awaitable[bool]] | None = None
        self._store = store
        self._wrong = wrong
        self._now = now

    async def principal(self, request: Any) -> Principal:
        """
        Who sends a request, an L{AdminRequest<burrow.server.admin.web.AdminRequest>}.

        @raise Problem: nobody who is known (401), too many wrong tokens (429), the store is away (503).
        """
        if request.foreign and request.method not in (b"GET", b"HEAD"):
            # Of the same site, too: the pages of tunnels are.
            raise Problem(403, "A page of another origin may not change anything here.")
        header = request.getHeader("authorization")
        if header is None:
            found = None if self.cookies is None else await self.cookies(request)
            if found is None:
                raise no_token()
            return found
        text = bearer(header)
        if not text:
            raise no_token()
        return await self.check(text, request.address)

    async def check(self, text: str, address: str) -> Principal:
        """
        Who shows a token. @param address: from where, without a port.

        @raise Problem: see L{principal}.
        """
        self._wrong.check(text, address)
        token = await self._ask(check_token(self._store, text))
        if token is None:
            self._wrong.was_wrong(text, address)
            raise wrong_token()
        self._wrong.was_right(text)
        with contextlib.suppress(StoreError):  # such as a full disk: the token is valid all the same
            await note_use(self._store, token, self._now())
        return Principal.of(token)

    async def still(self, known: Principal) -> Principal | None:
        """
        Whoever was known before, as it is now: its role may have changed. None if its token was revoked, or
        has another secret, or the sign-in is over. @raise Problem: the store is away.
        """
        if known.sign_in and self.signed_in is not None and not await self.signed_in(known.sign_in):
            return None
        token = await self._ask(self._store.token(known.id))
        if token is None or token.digest != known.digest:
            return None
        return attr.evolve(Principal.of(token), sign_in=known.sign_in)

    @staticmethod
    async def _ask(asking: Awaitable[_T]) -> _T:
        try:
            return await asking
        except StoreError as error:
            raise store_away() from error
