"""
What a CA refused by a limit of its own, kept in the store for all nodes: it is not asked again for what the
refusal is about, for L{REFUSED_LIMIT} seconds at most. It would repeat a refusal that still holds.

Names under different domains are different users': what the CA says of one domain holds for no other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from burrow.certificates.acme.problems import AcmeProblem
from burrow.clock import HOUR
from burrow.errors import CertificateFailed, StoreError
from burrow.store.base import IStore
from burrow.store.spaces import LIMITS
from burrow.wording import at

REFUSED_LIMIT = 3 * HOUR
"""Seconds for which the CA is not asked again after a refusal, at most, even if it says more."""

MAX_DOMAINS = 100
"""Domains whose refusals are remembered at once; of more, those that hold the shortest are forgotten."""

_SWAPS = 100
_UNDER = "refused under"
_QUOTED = re.compile(r'"[\w-]+(\.[\w-]+)+"')


class Scope(NamedTuple):
    """
    @ivar domain: the refusal is about it and the names under it; empty if it is about all names.
    @ivar new: about new names alone, not about renewals.
    """

    domain: str
    new: bool


def scope_of(problem: AcmeProblem, name: str) -> Scope:
    """
    What a "rateLimited" to an order for C{name} is about.

    It is read from the problem's identifiers (RFC 8555 section 6.7.1), else from the words of Let's Encrypt.
    Of domains that C{name} is not under it is not known what they are to others: then it is about C{name}.
    """
    if problem.names:
        named = [domain for domain in _domains(name) if domain in problem.names]
        return Scope(named[0] if named else name, new=False)
    text = str(problem).lower()
    if "exact set of" in text or _mentions(text, name):
        return Scope(name, new=False)
    if "new orders" in text:
        return Scope("", new=True)
    for domain in _domains(name):
        if _mentions(text, domain):
            return Scope(domain, new=True)
    return Scope(name if _QUOTED.search(text) else "", new=False)


def _domains(name: str) -> Iterator[str]:
    """The name, and the domains that it is under, without the last label alone."""
    labels = name.split(".")
    for start in range(max(len(labels) - 1, 1)):
        yield ".".join(labels[start:])


def _mentions(text: str, name: str) -> bool:
    """Whether a text has a name, and not as a part of another, nor of an address of a page."""
    return re.search(rf"(?<![\w.@/-]){re.escape(name)}(?![\w-]|\.\w)", text) is not None


class Refusals:
    """
    @param authority: the address of the CA. @param now: seconds since the epoch.
    """

    def __init__(self, store: IStore, authority: str, now: Callable[[], float]) -> None:
        self._store = store
        self._authority = authority
        self._now = now

    def _key(self, what: str) -> str:
        return f"{self._authority} {what}"

    async def check(self, name: str, *, renewal: bool) -> None:
        """@raise CertificateFailed: a refusal holds for this name; the text says until when."""
        for what in ("refused", f"refused {name}", *(() if renewal else ("refused new",))):
            text = await self._store.note(LIMITS, self._key(what))
            if text is not None:
                self._hold(float(text))
        _, known = await self._under()
        for domain in _domains(name):
            until, new = known.get(domain, (0.0, False))
            if not (new and renewal):
                self._hold(until)

    def _hold(self, until: float) -> None:
        # A later time is from before the clock was set back, or from a release without the cap.
        if 0 < until - self._now() <= REFUSED_LIMIT:
            raise CertificateFailed(f"the CA's rate limit is reached until {at(until)}")

    async def _under(self) -> tuple[str | None, dict[str, tuple[float, bool]]]:
        """By domain: until when its refusal holds, and whether for new names alone."""
        text = await self._store.note(LIMITS, self._key(_UNDER))
        known = {} if text is None else json.loads(text)
        now = self._now()
        return text, {domain: (until, new) for domain, (until, new) in known.items() if until > now}

    async def add(self, name: str, problem: AcmeProblem) -> None:
        """
        The CA refused an order for a name.

        @raise StoreError: other servers change the note all the time.
        """
        scope = scope_of(problem, name)
        wait = HOUR if problem.until is None else min(problem.until - self._now(), REFUSED_LIMIT)
        if wait <= 0:
            return
        until = self._now() + wait
        if scope.domain and scope.domain != name:
            await self._add_under(scope, until)
            return
        what = f"refused {name}" if scope.domain else "refused new" if scope.new else "refused"
        await self._store.put_note(LIMITS, self._key(what), repr(until), wait)

    async def _add_under(self, scope: Scope, until: float) -> None:
        for _ in range(_SWAPS):
            text, known = await self._under()
            known.pop(scope.domain, None)
            while len(known) >= MAX_DOMAINS:
                del known[min(known, key=lambda domain: known[domain][0])]
            known[scope.domain] = (until, scope.new)
            if await self._store.swap_note(LIMITS, self._key(_UNDER), text, json.dumps(known), REFUSED_LIMIT):
                return
        raise StoreError("other servers write what the CA refused all the time; try again")
