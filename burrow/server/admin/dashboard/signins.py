"""
Who signed in to the dashboard: a random secret in a cookie, and its SHA-256 in the store.

The store is shared, so each process and node knows who signed in, and whoever reads the store cannot sign in
with what it finds. A note of a sign-in names the token and its digest: it is worth nothing once the token is
revoked or has another secret, since the token's record is read for each request.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attr

from burrow.errors import StoreError
from burrow.server.admin.principal import Authenticator, Principal
from burrow.server.admin.problems import Problem, store_away
from burrow.store.base import IStore
from burrow.store.spaces import SIGN_INS

LASTS = 12 * 3600.0
"""Seconds for which somebody is signed in."""

OF_TOKEN = 20
"""Sign-ins that a token may have: of more, the oldest ends."""

SECURE_COOKIE, PLAIN_COOKIE = "__Host-burrow", "burrow-dashboard"
"""
The cookie's name. C{__Host-} is a browser's promise that the cookie came from this very host by HTTPS
(RFC 6265bis section 4.1.3.2), so the page of a tunnel, on a name below, cannot set it. Browsers refuse such a
cookie over plain HTTP, where it has a plain name.
"""

CSRF_FIELD = "X-Burrow-CSRF"
"""The field in which the page sends the CSRF token with each change."""

_T = TypeVar("_T")


@attr.frozen
class SignIn:
    """
    Somebody who signed in.

    @ivar who: whose token it was, with the role that it has now. @ivar until: when it ends, seconds since the
    epoch. @ivar csrf: what each change has to send in L{CSRF_FIELD}.
    """

    who: Principal
    until: float
    csrf: str = attr.field(repr=False)


class SignIns:
    """@param auth: knows the tokens. @param now: returns seconds since the epoch."""

    def __init__(self, store: IStore, auth: Authenticator, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._auth = auth
        self._now = now

    async def begin(self, who: Principal) -> tuple[str, SignIn]:
        """Somebody showed a token. @return: the secret for the cookie. @raise Problem: the store is away."""
        secret = secrets.token_urlsafe(32)
        until = self._now() + LASTS
        note = json.dumps({"token": who.id, "digest": who.digest.hex(), "until": until})
        await self._trim(who)
        await _asked(self._store.put_note(SIGN_INS, _key(secret), note, LASTS))
        return secret, SignIn(who, until, _csrf(secret))

    async def _trim(self, who: Principal) -> None:
        notes = await _asked(self._store.notes(SIGN_INS))
        own = []
        for key, text in notes.items():
            known = _read(text)
            if known is not None and known["token"] == who.id:
                own.append((known["until"], key, text))
        for _, key, text in sorted(own)[: max(0, len(own) - OF_TOKEN + 1)]:
            await _asked(self._store.swap_note(SIGN_INS, key, text, None))

    async def of(self, request: Any) -> SignIn | None:
        """
        Who sends a request, by its cookie. None: nobody, or not any more.

        @raise Problem: the store is away.
        """
        secret = secret_of(request)
        known = await self._lasting(_key(secret)) if secret else None
        if known is None:
            return None
        shown = Principal(known["token"], "", "agent", bytes.fromhex(known["digest"]))
        who = await self._auth.still(shown)
        if who is None:
            return None
        return SignIn(attr.evolve(who, sign_in=_key(secret)), known["until"], _csrf(secret))

    async def _lasting(self, key: str) -> dict[str, Any] | None:
        """What the note of a sign-in says; None if there is none, or it is over."""
        text = await _asked(self._store.note(SIGN_INS, key))
        known = _read(text) if text is not None else None
        return known if known is not None and known["until"] > self._now() else None

    async def lasts(self, key: str) -> bool:
        """Whether a sign-in is not over, by the key of its note. @raise Problem: the store is away."""
        return await self._lasting(key) is not None

    async def principal(self, request: Any) -> Principal | None:
        """
        See L{Authenticator.cookies}.

        @raise Problem: a page of another origin may have caused the request. A tunnel's page is of the same
            site, so browsers send the cookie with what it asks for, whatever C{SameSite} says.
        """
        if not secret_of(request):
            return None
        refuse_foreign(request)
        found = await self.of(request)
        if found is None:
            return None
        if request.method not in (b"GET", b"HEAD"):
            check_csrf(request, found)
        return found.who

    async def end(self, request: Any) -> None:
        """Somebody signs out. @raise Problem: the store is away."""
        key = _key(secret_of(request))
        text = await _asked(self._store.note(SIGN_INS, key))
        if text is not None:
            await _asked(self._store.swap_note(SIGN_INS, key, text, None))


def refuse_foreign(request: Any) -> None:
    """
    @raise Problem: it may come from a page of another origin. A change has to name its origin: every browser
        does so.
    """
    changes = request.method not in (b"GET", b"HEAD")
    if request.foreign or (changes and request.getHeader("origin") is None):
        raise Problem(403, "This came from another page than the dashboard: open the dashboard itself.")


def check_csrf(request: Any, found: SignIn) -> None:
    """@raise Problem: the request lacks the CSRF token of its sign-in."""
    given = request.getHeader(CSRF_FIELD) or ""
    if not hmac.compare_digest(given.encode("utf-8", "replace"), found.csrf.encode()):
        raise Problem(403, f"The field {CSRF_FIELD} is missing or old: load the dashboard again.")


def secret_of(request: Any) -> str:
    """What a request's cookie says; empty without one."""
    name = SECURE_COOKIE if request.secure else PLAIN_COOKIE
    value: bytes = request.getCookie(name.encode()) or b""
    return value.decode("latin-1")[:100]


def set_cookie(request: Any, secret: str, lasts: float = LASTS) -> None:
    """Set the cookie; an empty C{secret} takes it away."""
    name, flags = (SECURE_COOKIE, "Secure; ") if request.secure else (PLAIN_COOKIE, "")
    age = int(lasts) if secret else 0
    value = f"{name}={secret}; Path=/; Max-Age={age}; {flags}HttpOnly; SameSite=Strict"
    request.responseHeaders.addRawHeader(b"Set-Cookie", value.encode())


def _key(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _csrf(secret: str) -> str:
    digest = hmac.new(secret.encode(), b"burrow dashboard csrf", hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _read(text: str) -> dict[str, Any] | None:
    """What a note says; None if this release cannot read it."""
    try:
        known = json.loads(text)
        return {
            "token": str(known["token"]),
            "digest": bytes.fromhex(known["digest"]).hex(),
            "until": float(known["until"]),
        }
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


async def _asked(asking: Awaitable[_T]) -> _T:
    try:
        return await asking
    except StoreError as error:
        raise store_away() from error
