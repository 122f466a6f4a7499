"""
Rules on one tunnel's requests, as the edge asks them. No I/O.

A L{Policy} is what a tunnel's options make: rules in their order, each of which may answer in the upstream's
place, or change what the upstream gets and what the visitor is answered. It is asked once for each request,
WebSocket handshakes included, before a stream to the agent is opened: of who is kept out the upstream sees no
byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import Interface

from burrow.http.fields import FORWARDING_PREFIXES, HOP_BY_HOP, canonical, is_forwarding
from burrow.http.headers import Fields
from burrow.http.request_head import RequestHead
from burrow.policy.means import Means
from burrow.policy.shown import IsShown

Change = Callable[[Fields], Fields]
"""
Returns other fields for those of a message; it must not change the list that it is given. Fields that frame a
message, or are the edge's own, are neither shown to it nor taken from it.
"""

_EDGE_OWN = frozenset((b"host", b"via", b"x-request-id"))


def may_be_changed(name: bytes) -> bool:
    """Whether rules may change a request's field: no framing, and nothing that the edge itself says."""
    name = canonical(name)
    return not (name in HOP_BY_HOP or name in _EDGE_OWN or is_forwarding(name)) and not name.startswith(
        FORWARDING_PREFIXES
    )


def may_be_answered(name: bytes) -> bool:
    """Whether rules may set or remove an answer's field."""
    return canonical(name) not in HOP_BY_HOP


@dataclass(slots=True)
class Answer:
    """
    What a visitor is answered in the upstream's place.

    @ivar code: the same for programs, of lower-case letters, digits and hyphens.
    @ivar text: for people: what happened, and what to do. @ivar title: one line.
    @ivar fields: header fields beside those of any page. @ivar content: a media type and a body, in the place
        of the page that is made of the texts.
    """

    status: int
    code: str
    title: str
    text: str
    fields: Fields = field(default_factory=list)
    content: tuple[bytes, bytes] | None = None


ReadBody = Callable[[int], "Deferred[bytes | None]"]
"""Reads a body of so many bytes, at most."""


@dataclass(slots=True)
class Visit:
    """
    One request, as rules see it.

    @ivar request: its head, as it came. @ivar address: the visitor's address, as far as proxies in front are
        believed. @ivar scheme: the visitor's, "https" or "http".
    @ivar target: path and query that the upstream gets. @ivar host: the Host that it gets.
    @ivar forwards: whether the upstream is told the visitor's host and scheme (X-Forwarded-Host and others).
    @ivar on_request: changes of the fields that go to the upstream, in order.
    @ivar on_answer: changes of the fields of the answer, interim ones included, in order.
    @ivar on_end: called with the answer's status once it is over; with 0 if it did not come whole.
    @ivar compress: whether the answer's body may be compressed.
    @ivar part: of a tunnel with several upstreams, which one the request is for; None where there is one.
    @ivar identity: what the upstream is told of who the visitor is; nobody else can say it.
    @ivar means: what rules may use beside this.
    @ivar body: reads the request's body whole: see L{read_body}.
    @ivar shown: what is known of the TLS of its connection; None without TLS.
    @ivar body_limit: bytes of the request's body, at most; None for any number.
    """

    request: RequestHead
    address: str
    scheme: str
    target: bytes
    host: bytes
    on_request: list[Change] = field(default_factory=list)
    on_answer: list[Change] = field(default_factory=list)
    on_end: list[Callable[[int], None]] = field(default_factory=list)
    compress: bool = False
    part: bytes | None = None
    body_limit: int | None = None
    identity: Fields = field(default_factory=list)
    means: Means = field(default_factory=Means)
    body: ReadBody | None = None
    shown: IsShown | None = None
    forwards: bool = True

    def read_body(self, limit: int) -> Deferred[bytes | None]:
        """
        The request's whole body, which the upstream gets all the same if it is let in.

        @param limit: bytes, at most. @return: fires with None if there are more.
        """
        return succeed(b"") if self.body is None else self.body(limit)

    @property
    def preflight(self) -> bool:
        """Whether a browser asks if a page of another origin may ask (Fetch standard, section 3.2.2)."""
        headers = self.request.headers
        return (
            self.request.method == b"OPTIONS"
            and bool(headers.value(b"origin"))
            and b"access-control-request-method" in headers
        )

    @property
    def origin(self) -> bytes:
        """The origin that the visitor's browser knows (RFC 6454 section 6.2)."""
        return f"{self.scheme}://".encode() + self.request.authority


Outcome = Answer | None
"""None: the request goes on."""


class IRule(Interface):
    """One rule."""

    def visit(visit: Visit) -> Outcome | Deferred[Outcome]:
        """Let a request go on, after changing what C{visit} says of it, or answer it."""


class Policy:
    """
    @param rules: L{IRule}s, in the order in which they are asked.
    """

    __slots__ = ("rules",)

    def __init__(self, rules: Iterable[Any]) -> None:
        self.rules = tuple(rules)

    def visit(self, visit: Visit, first: int = 0) -> Outcome | Deferred[Outcome]:
        """
        Ask all rules, until one answers.

        @param first: the number of the rule to begin with.
        """
        for number in range(first, len(self.rules)):
            outcome = self.rules[number].visit(visit)
            if isinstance(outcome, Deferred):
                return outcome.addCallback(self._next, visit, number + 1)
            if outcome is not None:
                return outcome  # type: ignore[no-any-return]
        return None

    def _next(self, outcome: Outcome, visit: Visit, number: int) -> Outcome | Deferred[Outcome]:
        return self.visit(visit, number) if outcome is None else outcome


def changed(fields: Fields, changes: Iterable[Change], allowed: Callable[[bytes], bool]) -> Fields:
    """
    Fields after changes; those that rules may not change are in front, as they were.

    @param allowed: L{may_be_changed} or L{may_be_answered}.
    """
    kept = [pair for pair in fields if not allowed(pair[0])]
    own = [pair for pair in fields if allowed(pair[0])]
    for change in changes:
        own = change(own)
    return kept + [pair for pair in own if allowed(pair[0])]
