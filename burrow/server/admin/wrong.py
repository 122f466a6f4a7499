"""
Limits how many wrong tokens an address may send, so that guessing costs the server little.

The secret of a token has 160 random bits, so the limit is not what keeps it. It keeps the store from being
asked, and the log from being filled. An address (IPv6: its /64) may send L{BURST} wrong tokens, and one more
each L{EVERY} seconds; then it is answered 429 before the store is asked.

Who shares the address with somebody that guesses is let in all the same: a token that was right here within
the last hour is not refused for others' errors. One that was not has to wait for its turn, L{EVERY} seconds
at most if nobody else takes it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

from burrow.addresses import customer
from burrow.server.admin.problems import Problem

BURST = 20
"""Wrong tokens in a row that an address may send."""

EVERY = 3.0
"""Seconds after which it may send one more."""

ADDRESSES = 4096
"""Addresses that are counted: of more, the one that was wrong longest ago is forgotten."""

GOOD, GOOD_FOR = 4096, 3600.0
"""Tokens that are remembered to be right, and seconds for which they are."""


class WrongTokens:
    """See the module's docstring."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._owed: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._good: OrderedDict[bytes, float] = OrderedDict()

    def check(self, text: str, address: str) -> None:
        """A token is about to be checked. @raise Problem: not from this address now (429)."""
        owed = self._now_owed(customer(address))
        if owed < BURST or self._is_good(text):
            return
        wait = max(1, round((owed - BURST + 1) * EVERY))
        raise Problem(
            429,
            f"Too many wrong tokens came from your address: try again in {wait} s.",
            {"Retry-After": str(wait)},
        )

    def was_wrong(self, text: str, address: str) -> None:
        """A token was not good."""
        self._good.pop(_digest(text), None)
        key = customer(address)
        self._owed[key] = self._now_owed(key) + 1, self._clock.seconds()
        self._owed.move_to_end(key)
        if len(self._owed) > ADDRESSES:
            self._owed.popitem(last=False)

    def was_right(self, text: str) -> None:
        """A token was good."""
        digest = _digest(text)
        self._good[digest] = self._clock.seconds()
        self._good.move_to_end(digest)
        if len(self._good) > GOOD:
            self._good.popitem(last=False)

    def _now_owed(self, key: str) -> float:
        count, when = self._owed.get(key, (0.0, 0.0))
        passed: float = self._clock.seconds() - when
        return max(0.0, count - passed / EVERY)

    def _is_good(self, text: str) -> bool:
        when = self._good.get(_digest(text))
        return when is not None and self._clock.seconds() - when < GOOD_FOR


def _digest(text: str) -> bytes:
    # A lookup by digest takes a time that says nothing of the token.
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
