"""
Answers that go on: server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

What a reader does not take waits, L{QUEUE} pieces at most; of more it is told how many were left out. A line
every L{BEAT} seconds tells it, and proxies on the way, that the connection lives. It ends when the token that
opened it is revoked or may not see this any more, which is asked when the store tells that the token changed.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from burrow.repeat import repeating
from burrow.server.admin.describe import Item
from burrow.server.admin.principal import Authenticator, Principal
from burrow.server.admin.problems import Problem
from burrow.server.admin.web import AdminRequest
from burrow.server.nodes.asking import Questions, Unanswered
from burrow.store.changes import Changes

QUEUE = 500
"""Pieces that wait for a reader, at most."""

BEAT = 15.0
"""Seconds between two lines that say nothing."""

OF_TOKEN, OF_AGENTS, OF_ALL = 16, 192, 256
"""Live answers that one token, the tokens of agents, and all together may have from one node."""

LINK_AGAIN = 1.0
"""Seconds between two looks for nodes that are not followed."""


@implementer(IPushProducer)
class Live:
    """
    One live answer.

    @ivar who: who reads it. @ivar role: the least role that may.
    @param begin: called when the answer begins; returns what is called when it has ended.
    """

    def __init__(
        self, lives: Lives, who: Principal, role: str, begin: Callable[[Live], Callable[[], None]]
    ) -> None:
        self.who = who
        self.role = role
        self._lives = lives
        self._begin = begin
        self._request: AdminRequest | None = None
        self._stop: Callable[[], None] | None = None
        self._full = False
        self._waiting: deque[bytes] = deque()
        self._dropped = 0

    def start(self, request: AdminRequest) -> None:
        """Begin to answer."""
        request.setHeader("X-Accel-Buffering", "no")  # nginx would keep events back
        self._request = request
        request.notifyFinish().addBoth(lambda reason: self._ended())
        request.registerProducer(self, True)
        self.comment("live")
        if request.method == b"HEAD":
            self.finish()
            return
        self._lives.add(self)
        self._stop = self._begin(self)
        if self._request is None:
            self._ended()

    # -- what is written -----------------------------------------------------------------------------------

    def send(self, item: Item, key: str = "", kind: str = "") -> None:
        """An event. @param key: its id. @param kind: its type; empty for the usual one."""
        lines = [f"event: {kind}"] if kind else []
        if key:
            lines.append(f"id: {key}")
        lines.append(f"data: {json.dumps(item)}")
        data = "\n".join(lines).encode() + b"\n\n"
        if not self._full and self._request is not None:
            self._request.write(data)
        elif len(self._waiting) < QUEUE:
            self._waiting.append(data)
        else:
            self._dropped += 1

    def gap(self, dropped: int) -> None:
        """So many were left out."""
        if dropped:
            self.send({"dropped": dropped}, kind="gap")

    def comment(self, text: str) -> None:
        """A line that says nothing."""
        if not self._full and self._request is not None:
            self._request.write(f": {text}\n\n".encode())

    def finish(self, why: str = "") -> None:
        """End it. @param why: a sentence for the reader."""
        request = self._request
        if request is None:
            return
        if why:
            self._full = False
            self.send({"detail": why}, kind="end")
        self._request = None
        request.channel.persistent = False
        request.unregisterProducer()
        request.finish()
        self._ended()

    def _ended(self) -> None:
        self._request = None
        self._lives.remove(self)
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()

    # -- for the connection --------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """See L{IPushProducer}."""
        self._full = True

    def resumeProducing(self) -> None:
        """See L{IPushProducer}."""
        self._full = False
        while self._waiting and not self._full and self._request is not None:
            self._request.write(self._waiting.popleft())
        if self._dropped and not self._full:
            dropped, self._dropped = self._dropped, 0
            self.gap(dropped)

    def stopProducing(self) -> None:
        """See L{IPushProducer}."""
        self._ended()


class Lives:
    """All live answers of this node. @param auth: tells whether their tokens are still good."""

    log = Logger()

    def __init__(self, clock: Any, auth: Authenticator) -> None:
        self._auth = auth
        self._clock = clock
        self._open: set[Live] = set()
        self._loop = repeating(clock, self._beat, "telling readers that their connections live")

    def check(self, who: Principal) -> None:
        """@raise Problem: C{who} may not have one more (429)."""
        of_token = Counter(live.who.id for live in self._open)[who.id]
        of_agents = sum(not live.who.sees_all for live in self._open)
        full = len(self._open) >= OF_ALL or (not who.sees_all and of_agents >= OF_AGENTS)
        if of_token >= OF_TOKEN or full:
            raise Problem(
                429,
                f"There are too many live answers: a token may have {OF_TOKEN}, all together {OF_ALL}, "
                f"those of agents {OF_AGENTS} of them. Close one first.",
                {"Retry-After": "30"},
            )

    def add(self, live: Live) -> None:
        """One begins."""
        self._open.add(live)
        if not self._loop.running:
            self._loop.start(BEAT, now=False)

    def remove(self, live: Live) -> None:
        """One has ended."""
        self._open.discard(live)
        if not self._open and self._loop.running:
            self._loop.stop()

    def _beat(self) -> None:
        for live in list(self._open):
            live.comment("")
            if live.who.sign_in:  # it may be over, which no change of a token tells
                self._begin_check(live)

    def changed(self, changes: Changes) -> None:
        """See L{ChangeReader<burrow.server.changes.ChangeReader>}."""
        if changes.whole or changes.tokens:
            self.doubt(None if changes.whole else changes.tokens)

    def doubt(self, tokens: Iterable[str] | None) -> None:
        """These tokens, by id, may have changed; None: any may."""
        ids = {live.who.id for live in self._open} & set(tokens) if tokens is not None else None
        for live in list(self._open):
            if ids is None or live.who.id in ids:
                self._begin_check(live)

    def _begin_check(self, live: Live) -> None:
        checking = Deferred.fromCoroutine(self._check(live))
        checking.addErrback(lambda reason: self.log.failure("cannot check a live answer", reason))

    async def _check(self, live: Live) -> None:
        try:
            now = await self._auth.still(live.who)
        except Problem:
            return  # the store is away: it is told of the change again when it is back
        if now is None:
            live.finish(
                "You are signed out, or the token was revoked."
                if live.who.sign_in
                else "The token was revoked, or has another secret now."
            )
        elif not now.may(live.role) or now.sees_all != live.who.sees_all:
            live.finish(f"The token has the role {now.role} now.")

    def stop(self) -> None:
        """End all: the server stops."""
        for live in list(self._open):
            live.finish("The server stops.")


class Everywhere:
    """
    Follows something on all nodes, those that come later included.

    @param received: called with each piece. @param silent: called with the ids of nodes that cannot be
        followed, when that changes.
    """

    def __init__(
        self,
        clock: Any,
        questions: Questions,
        question: str,
        of: dict[str, Any],
        received: Callable[[Any], None],
        silent: Callable[[list[str]], None],
    ) -> None:
        self._questions = questions
        self._question = question
        self._of = of
        self._received = received
        self._silent = silent
        self._told: list[str] = []
        self._stops: dict[str, Callable[[], None]] = {}
        self._loop = repeating(clock, self._look, "following what other nodes tell")
        self._loop.start(LINK_AGAIN)

    def _look(self) -> None:
        nodes = {self._questions.own_id, *self._questions.others()}
        silent = []
        for node in sorted(nodes - self._stops.keys()):
            try:
                self._stops[node] = self._questions.follow(
                    node, self._question, self._of, self._received, partial(self._lost, node)
                )
            except Unanswered:
                silent.append(node)
        for node in self._stops.keys() - nodes:
            self._stops.pop(node)()
        if silent != self._told:
            self._told = silent
            self._silent(silent)

    def _lost(self, node: str) -> None:
        self._stops.pop(node, None)

    def stop(self) -> None:
        """Follow no more."""
        if self._loop.running:
            self._loop.stop()
        stops, self._stops = self._stops, {}
        for stop in stops.values():
            stop()
