"""
Who may visit: the doors of a tunnel, one of which is enough. No I/O.

A L{Door} is one way to show who one is: a password, a token, a link, a signature. Who comes by none is kept
out, before the upstream sees a byte. What shows it is for the edge, and is not passed on unless that is asked
for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from burrow.policy.base import Answer, Change, Visit
from burrow.policy.cookies import navigates, set_cookie, without_ours
from burrow.policy.means import Busy

SIGN_OUT = b"/_burrow/sign-out"
"""Takes the cookies of all doors away."""

Verdict = Answer | Change | None
"""
What a door says: None if a visitor shows nothing that counts here; an answer for those that have to do
something, or are refused; else they may come in, and it is what takes the shown away from the request.
"""


def kept_as_it_is(fields: Any) -> Any:
    """The L{Change} of doors that take nothing away."""
    return fields


class Door:
    """
    One door.

    @cvar challenge: what WWW-Authenticate says of it (RFC 9110 section 11.6.1), which has to be there; a word
        of our own where there is no other, which browsers ignore.
    @cvar cookie: the name of the cookie that it sets; empty without one. @cvar wanted: what to show, for
        people.
    """

    challenge: bytes = b"Burrow"
    cookie: bytes = b""
    wanted: str = ""

    def check(self, visit: Visit) -> Answer | Change | Deferred[Any] | None:
        """Whether a visitor may come in."""
        raise NotImplementedError

    def wants(self, visit: Visit) -> str:
        """What to show, for a visitor who is kept out."""
        return self.wanted

    def page(self, visit: Visit) -> Answer | Deferred[Any] | None:
        """For a person who shows nothing yet: where to sign in."""
        return None

    def sign_out(self, visit: Visit) -> Answer | Deferred[Any] | None:
        """For a person who signs out: where else to do so."""
        return None


def busy() -> Answer:
    """Too many passwords are being checked."""
    text = "Too many passwords are being checked just now. Try again in some seconds."
    return Answer(503, "busy", "Try again soon", text, [(b"Retry-After", b"5")])


def too_often(wait: int) -> Answer:
    """An address tried too much that was wrong. C{wait}: seconds until it may again."""
    text = f"There were too many wrong tries from your address. Try again in {wait} seconds."
    return Answer(429, "too-many-tries", "Too many wrong tries", text, [(b"Retry-After", b"%d" % wait)])


def see_other(location: bytes, fields: Iterable[tuple[bytes, bytes]] = ()) -> Answer:
    """Go there, by GET."""
    text = "This page has moved on: follow the link in Location."
    return Answer(303, "see-other", "Go on", text, [(b"Location", location), *fields])


class Authentication:
    """
    The rule.

    @param doors: in the order in which they are asked. @param preflights: whether CORS preflights go on,
        which browsers send without anything that shows who asks (Fetch standard, section 4.8).
    @param pass_on: whether the upstream gets what let a visitor in.
    """

    __slots__ = ("_doors", "_pass_on", "_preflights")

    def __init__(self, doors: Iterable[Door], *, preflights: bool = False, pass_on: bool = False) -> None:
        self._doors = tuple(doors)
        self._preflights = preflights
        self._pass_on = pass_on

    def visit(self, visit: Visit) -> Answer | Deferred[Any] | None:
        """See L{IRule<burrow.policy.base.IRule>}."""
        if not self._pass_on:
            visit.on_request.append(without_ours)
        if self._preflights and visit.preflight:
            # Nothing that could let somebody in goes along.
            visit.on_request.append(_without_credentials)
            return None
        if visit.request.target.partition(b"?")[0] == SIGN_OUT and any(door.cookie for door in self._doors):
            return self._sign_out(visit)
        return self._ask(visit, 0)

    def _ask(self, visit: Visit, first: int) -> Answer | Deferred[Any] | None:
        for number in range(first, len(self._doors)):
            verdict = self._doors[number].check(visit)
            if isinstance(verdict, Deferred):
                return verdict.addCallback(self._asked, visit, number).addErrback(_failed)
            if verdict is not None:
                return self._decided(verdict, visit)
        return self._kept_out(visit)

    def _asked(self, verdict: Verdict, visit: Visit, number: int) -> Answer | Deferred[Any] | None:
        return self._ask(visit, number + 1) if verdict is None else self._decided(verdict, visit)

    def _decided(self, verdict: Answer | Change, visit: Visit) -> Answer | None:
        if isinstance(verdict, Answer):
            return verdict
        if not self._pass_on:
            visit.on_request.append(verdict)
        return None

    def _kept_out(self, visit: Visit) -> Answer | Deferred[Answer | None]:
        if navigates(visit):
            for door in self._doors:
                page = door.page(visit)
                if page is not None:
                    return page
        challenges = dict.fromkeys(door.challenge for door in self._doors)
        text = " Or: ".join(dict.fromkeys(door.wants(visit) for door in self._doors))
        fields = [(b"WWW-Authenticate", challenge) for challenge in challenges]
        return Answer(401, "not-let-in", "This is not open to everybody", text, fields)

    def _sign_out(self, visit: Visit) -> Answer | Deferred[Answer | None]:
        gone = [set_cookie(visit, door.cookie, b"", 0) for door in self._doors if door.cookie]

        def out(answer: Answer | None) -> Answer:
            text = "This browser is not let in any more."
            answer = answer or Answer(200, "signed-out", "You are signed out", text)
            answer.fields += gone
            return answer

        for door in self._doors:
            answer = door.sign_out(visit)
            if isinstance(answer, Deferred):
                return answer.addCallback(out)
            if answer is not None:
                return out(answer)
        return out(None)


def _without_credentials(fields: Any) -> Any:
    return [pair for pair in fields if pair[0].lower() not in (b"authorization", b"cookie")]


def _failed(reason: Failure) -> Answer:
    reason.trap(Busy)
    return busy()
