"""How much visitors may send, and how often they may ask. No I/O."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from burrow.addresses import customer
from burrow.clock import ticks
from burrow.http.head import TOKEN
from burrow.policy.base import Answer, Visit
from burrow.values import SECONDS

MAX_VISITORS = 10_000
"""Visitors of one tunnel whose requests are counted; whoever asked longest ago is forgotten first."""

_SIZE = re.compile(r"(\d{1,12})\s*([kmg]?)(i?b)?", re.IGNORECASE)
_RATE = re.compile(r"(\d{1,7})\s*/\s*(s|m|h|d)", re.IGNORECASE)
_NAME = re.compile(TOKEN)


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes, as somebody wrote it."""

    bytes: int
    text: str

    def __str__(self) -> str:
        return self.text


def parse_size(text: str) -> Size:
    """Bytes, or with K, M or G: 1024 of each."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError("write a size, as in 500K, 10M or 1G")
    return Size(int(found[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[found[2].lower()], text.strip())


def too_large(limit: int) -> Answer:
    """The body of a request has more than C{limit} bytes."""
    text = f"The body of a request has {limit} bytes at most here."
    return Answer(413, "too-large", "The request is too large", text)


class MaxBody:
    """The rule: a request's body has so many bytes at most."""

    __slots__ = ("_limit",)

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def visit(self, visit: Visit) -> Answer | None:
        """See L{IRule<burrow.policy.base.IRule>}. A length that is announced is refused at once."""
        if (visit.request.length or 0) > self._limit:
            return too_large(self._limit)
        if visit.body_limit is None or visit.body_limit > self._limit:
            visit.body_limit = self._limit
        return None


@dataclass(frozen=True, slots=True)
class Rate:
    """@ivar count: requests in each C{period} seconds."""

    count: int
    period: int
    text: str

    def __str__(self) -> str:
        return self.text


def parse_requests(text: str) -> Rate:
    """C{COUNT/UNIT}: a second, minute, hour or day."""
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise ValueError("write how many requests in which time, as in 10/s, 100/m, 1000/h or 5000/d")
    if not int(found[1]):
        raise ValueError(
            "that would let no request through: write 1 or more, as in 100/m, or leave it out for no limit"
        )
    return Rate(int(found[1]), SECONDS[found[2].lower()], text.strip())


def parse_field_name(text: str) -> str:
    """The name of a header field; returned in lower case."""
    if not _NAME.fullmatch(text.encode("latin-1", "replace")):
        raise ValueError("write the name of a header field, as in X-Api-Key")
    return text.lower()


class RateLimit:
    """
    The rule: each visitor may ask so often, all at once or spread (a token bucket that holds one period's
    requests). An IPv6 visitor is its /64, of which one customer has all addresses.

    @param field: what tells visitors apart in the place of their address: a field, whose value they choose.
        Those without it are told apart by address.
    @param now: returns seconds, which never go back.
    """

    __slots__ = ("_by", "_field", "_interval", "_now", "_period")

    def __init__(self, rate: Rate, field: str = "", now: Callable[[], float] = ticks) -> None:
        self._interval = rate.period / rate.count
        self._period = float(rate.period)
        self._field = field.encode()
        self._now = now
        self._by: OrderedDict[object, float] = OrderedDict()

    def visit(self, visit: Visit) -> Answer | None:
        """See L{IRule<burrow.policy.base.IRule>}."""
        key, now = self._key(visit), self._now()
        # When the bucket would be full again: the "theoretical arrival time" of GCRA (ITU-T I.371).
        full = max(self._by.pop(key, now), now)
        wait = full + self._interval - now - self._period
        if wait <= 1e-9:
            full += self._interval
        self._by[key] = full
        while len(self._by) > MAX_VISITORS:
            self._by.popitem(last=False)
        if wait <= 1e-9:
            return None
        seconds = math.ceil(wait)
        return Answer(
            429,
            "too-many-requests",
            "Too many requests",
            f"This tunnel takes no more requests of yours now. Try again in {seconds} s.",
            [(b"Retry-After", b"%d" % seconds)],
        )

    def _key(self, visit: Visit) -> object:
        if self._field and (value := visit.request.headers.value(self._field)):
            return hash(value)
        return customer(visit.address)
