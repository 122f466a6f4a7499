"""A tunnel's policy, asked for one request: what it answers, and what it changes."""

from __future__ import annotations

import re
from dataclasses import replace

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.http.headers import Headers
from burrow.http.request_head import RequestHead
from burrow.http.response_head import ResponseHead
from burrow.policy.base import Outcome, Policy, ReadBody, Visit, changed, may_be_answered
from burrow.policy.compress import Encoder, compressed
from burrow.policy.host import OfHandshakes, RewriteHost
from burrow.policy.means import Means
from burrow.policy.shown import IsShown
from burrow.server.edge import pages
from burrow.server.edge.forwarded import Hop
from burrow.server.route import IRoute

NO_RULES = Policy(())

_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

REFUSING = (400, 403, 421)
"""Statuses of an upstream that does not know the host that it is asked for."""

REFUSING_HANDSHAKE = (0, 401, *REFUSING)
"""
Of an upstream that refuses a WebSocket handshake for its Origin: some close the connection or answer with
what is no HTTP (0), and C{ws}, which is under most servers in Node.js, says 401.
"""


class Policed:
    """
    One request.

    @param policy: the tunnel's. @param means: see L{Visit}. @param body: likewise, as C{shown}.
    @ivar own_host: whether the upstream's own Host is tried.
    @ivar answer: what the visitor is answered in the upstream's place; None: the request goes on.
    """

    log = Logger()

    def __init__(
        self,
        policy: Policy,
        request: RequestHead,
        address: tuple[str, str],
        means: Means,
        body: ReadBody | None = None,
        shown: IsShown | None = None,
    ) -> None:
        host, scheme = address[0].rpartition(":")[0].strip("[]"), address[1]
        self.policy = policy
        self.answer: pages.Page | None = None
        self.own_host = False
        self._encoder: Encoder | None = None
        self.visit = Visit(request, host, scheme, request.target, request.authority, means=means, body=body)
        self.visit.shown = shown
        self._came = 0

    def ask(self) -> Deferred[None] | None:
        """Ask the policy. @return: fires when it has answered, if that takes time; it never fails."""
        try:
            outcome = self.policy.visit(self.visit)
        except Exception:
            self._failed(Failure())
            return None
        if isinstance(outcome, Deferred):
            said = outcome.addCallbacks(self._said, self._failed)
            return None if said.called and not said.paused else said
        self._said(outcome)
        return None

    def _said(self, outcome: Outcome) -> None:
        if outcome is None:
            return
        if any(_CONTROLS.search(text) for pair in outcome.fields for text in pair):
            # Texts that others wrote go into answers: none may end a field, or begin an answer of its own.
            self.log.error(
                "a rule's answer has a field with control characters: {fields}", fields=outcome.fields
            )
            self.answer = pages.policy_failed()
            return
        self.answer = pages.answered(outcome)

    def _failed(self, reason: Failure) -> None:
        """A rule that fails lets nobody in. It is cancelled when the visitor leaves."""
        self.answer = pages.policy_failed()
        if reason.check(CancelledError):
            return
        self.log.failure("a rule of a tunnel's policy failed", reason)

    def try_own_host(self, rule: RewriteHost) -> None:
        """Ask for the upstream's own Host, when the request is sent once more."""
        self.own_host = True
        rule.visit(self.visit)

    def head(self, hop: Hop, request_id: bytes) -> bytes:
        """The request's head as the upstream gets it."""
        return b"%b%b\r\n\r\n" % (hop.rewrite(self.visit.request, self.visit).start, request_id)

    def exceeded(self, size: int) -> int | None:
        """Count bytes of the request's body. @return: the limit, if they are more than the policy allows."""
        self._came += size
        limit = self.visit.body_limit
        return limit if limit is not None and self._came > limit else None

    def changed(self, head: ResponseHead) -> ResponseHead:
        """The head of an answer as the visitor gets it."""
        if not self.visit.on_answer:
            return head
        fields = changed(head.headers.fields, self.visit.on_answer, may_be_answered)
        return replace(head, headers=Headers(fields), passed_on=None)

    def final(self, head: ResponseHead) -> ResponseHead:
        """The head of the final answer, likewise; what follows is its L{body}."""
        head = self.changed(head)
        if self.visit.compress:
            head, self._encoder = compressed(self.visit, head)
        return head

    def body(self, data: bytes) -> bytes:
        """Some of the final answer's body, as the visitor gets it."""
        return data if self._encoder is None else self._encoder.feed(data)

    def body_end(self) -> bytes:
        """What the visitor gets behind it."""
        encoder, self._encoder = self._encoder, None
        return b"" if encoder is None else encoder.end()

    def ended(self, status: int) -> None:
        """The request is over. @param status: of the answer; 0 if it has not come whole."""
        self._encoder = None
        for each in self.visit.on_end:
            each(0 if self.answer is not None else status)


def keep_own_host(route: IRoute, *, handshakes: bool) -> None:
    """
    All requests to a tunnel have the upstream's own Host from now on: it refuses the visitors'.

    @param handshakes: WebSocket handshakes alone have it: of another request that is not known.
    """
    usual, own = route.policies
    rules = usual.rules if usual is not None else ()
    if handshakes:
        if own is not None and not any(isinstance(rule, OfHandshakes) for rule in rules):
            route.policies = route.policies._replace(usual=Policy((*rules, OfHandshakes(own))))
            Policed.log.info(
                "the upstream of tunnel {name} refuses WebSocket handshakes with the visitors' Host and "
                "Origin and takes those with its own: from now on they have these (--host-header preserve "
                "leaves both as they are)",
                name=route.name,
            )
        return
    rules = (*(rule for rule in rules if not isinstance(rule, OfHandshakes)), own)
    route.policies = route.policies._replace(usual=Policy(rules), own_host=None)
    Policed.log.info(
        "the upstream of tunnel {name} refuses the visitors' Host and answers to its own: from now on it "
        "is asked for that (--host-header preserve leaves Host as it is)",
        name=route.name,
    )
