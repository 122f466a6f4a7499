"""
Opens an agent's tunnels on one session, and asks again for those that were refused for what may pass.

What becomes of one tunnel::

    asked for ── opened
        │
        ├─ Unavailable (the store is away, the port is busy), or no answer: asked again after 0.5 to 5 s
        ├─ CertificateFailed, TooManyTunnels: asked again after 1 to 15 min
        ├─ any other refusal of one that was open before: likewise; the server changed, and may again
        └─ NameTaken, NotAllowed, and any other refusal of one that never was open: given up

A refusal of one tunnel touches no other. The agent ends when all are given up. If nothing was ever open, a
CertificateFailed or TooManyTunnels counts as given up for that: a person at a first start wants to read it.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, DeferredList, TimeoutError, ensureDeferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.client.tunnels import TunnelRequest
from burrow.errors import (
    CertificateFailed,
    NameTaken,
    NotAllowed,
    Refused,
    ServerUnreachable,
    TooManyTunnels,
    Unavailable,
)
from burrow.mux.control import CloseTunnel, OpenTunnel

SOON_FIRST, SOON_LIMIT = 0.5, 5.0
"""Seconds until a tunnel is asked for again that the server cannot open just now: first, and at most."""

ASK_AGAIN_FIRST, ASK_AGAIN_LIMIT = 60.0, 900.0
"""Likewise for what takes longer to pass: no certificate, too many tunnels."""

OPEN_TIMEOUT = 60.0
"""Seconds the server may take to open a tunnel: a certificate may have to be had first."""


class Wanted:
    """
    A tunnel that the agent is to keep open, whatever the session.

    @ivar tunnel: what the server calls it; empty before it first was open.
    @ivar open: whether it is open on the present session.
    @ivar refusal: why it was given up on the present session; None if it was not.
    @ivar dropped: whether it is wanted no more.
    @ivar replaces: what has its name until it is open.
    """

    def __init__(self, request: TunnelRequest) -> None:
        self.request = request
        self.tunnel = ""
        self.open = False
        self.refusal: Refused | None = None
        self.dropped = False
        self.replaces: Wanted | None = None

    @property
    def been_open(self) -> bool:
        """Whether it was open, on whatever session."""
        return bool(self.tunnel)


class Opened:
    """
    A tunnel that is open.

    @ivar request: what was asked for. @ivar name: its label. @ivar url: where visitors reach it.
    """

    def __init__(self, request: TunnelRequest, name: str, url: str) -> None:
        self.request = request
        self.name = name
        self.url = url


class ForOpening(Protocol):
    """
    What it needs of the agent.

    @ivar wanted: all tunnels to keep open. @ivar retry: whether to ask again at all.
    """

    reactor: Any
    wanted: list[Wanted]
    retry: bool

    def opened(self, wanted: Wanted, answer: dict[str, str]) -> None:
        """A tunnel is open."""

    def tell(self, event: str, text: str) -> None:
        """Something for the person who reads the screen."""

    def answered(self) -> None:
        """The server answered, in whatever way."""

    def given_up(self, refusal: Refused) -> None:
        """No tunnel is open, and none is asked for again."""


def _permanent(error: Refused, *, been_open: bool, anything: bool) -> bool:
    """Whether asking again cannot change a refusal. C{anything}: whether any tunnel was ever open."""
    if isinstance(error, Unavailable):
        return False
    if isinstance(error, (CertificateFailed, TooManyTunnels)):
        return not anything
    return isinstance(error, (NameTaken, NotAllowed)) or not been_open


class Opening:
    """
    The tunnels of one session.

    @param control: the session's control channel, an L{amp.AMP}.
    @ivar asking: how many questions the server has not answered yet.
    """

    log = Logger()

    def __init__(self, agent: ForOpening, control: Any) -> None:
        self._agent = agent
        self._control = control
        self.asking = 0
        self._again: dict[Wanted, Deferred[None]] = {}
        self._stopped = False

    async def open_all(self) -> None:
        """
        Open every tunnel. Returns when the server has answered for each once.

        @raise ServerUnreachable: the session was lost meanwhile; or, without C{retry}, the server cannot open
            one of them now.
        """
        all_wanted = list(self._agent.wanted)
        for wanted in all_wanted:
            wanted.open, wanted.refusal = False, None
        answers: list[tuple[bool, Any]] = await DeferredList(
            [self._ask(wanted) for wanted in all_wanted], consumeErrors=True
        )
        failed: list[tuple[Wanted, Failure]] = [
            (wanted, answer) for wanted, (good, answer) in zip(all_wanted, answers, strict=True) if not good
        ]
        for _, failure in failed:
            passes = failure.check(Unavailable) or not failure.check(Refused)
            if failure.check(ConnectionClosed) or (passes and not self._agent.retry):
                raise ServerUnreachable(f"the server opened no tunnel: {_text(failure)}")
        anything = any(wanted.been_open for wanted in self._agent.wanted)
        for wanted, failure in failed:
            self._refused(wanted, failure, anything=anything)
            if wanted.refusal is None:
                self._keep(wanted, self._until_open(wanted, failure))
        self._check()

    def add(self, wanted: Wanted) -> None:
        """Open one more tunnel."""
        if not self._stopped:
            self._keep(wanted, self._open(wanted))

    def drop(self, wanted: Wanted, successor: Wanted | None = None) -> None:
        """
        Ask for a tunnel no more, and take it away if it is open and none of the others is the same.

        @param successor: what is about to take its name: it is taken away only if that is given up.
        """
        wanted.dropped = True
        self._forget(wanted)
        replaced, wanted.replaces = wanted.replaces, None
        if replaced is not None:
            self.drop(replaced, successor)
        if not wanted.open or self._stopped:
            return
        if successor is not None:
            successor.replaces = wanted
            return
        wanted.open = False
        if not any(other.open and other.tunnel == wanted.tunnel for other in self._agent.wanted):
            closing: Deferred[Any] = self._control.callRemote(CloseTunnel, tunnel=wanted.tunnel)
            closing.addErrback(self._not_closed, wanted)

    def _not_closed(self, reason: Failure, wanted: Wanted) -> None:
        self.log.info("{name} was not closed: {error}", name=wanted.tunnel, error=reason.getErrorMessage())

    def stop(self) -> None:
        """Ask for nothing more: the session is left."""
        self._stopped = True
        for wanted in list(self._again):
            self._forget(wanted)

    # -- inside -------------------------------------------------------------------------------------------

    def _forget(self, wanted: Wanted) -> None:
        asking = self._again.pop(wanted, None)
        if asking is not None:
            asking.cancel()

    async def _open(self, wanted: Wanted) -> None:
        try:
            await self._ask(wanted)
            return
        except ConnectionClosed:
            return  # with the session, and so asked for on the next one
        except Exception:
            failure = Failure()
        self._refused(wanted, failure, anything=True)
        if wanted.refusal is None:
            await self._until_open(wanted, failure)

    def _refused(self, wanted: Wanted, failure: Failure, *, anything: bool) -> None:
        """The server did not open it: say so."""
        refusal = failure.value
        if isinstance(refusal, Refused) and _permanent(
            refusal, been_open=wanted.been_open, anything=anything
        ):
            wanted.refusal = refusal
            self._replaced(wanted)
        if wanted.refusal is None:
            self._agent.tell("refused", f"{_text(failure)}; trying again")
        elif len(self._agent.wanted) > 1:
            self._agent.tell("refused", str(refusal))

    def _replaced(self, wanted: Wanted) -> None:
        """A tunnel is open, or given up: so what it replaces is not needed any more."""
        replaced, wanted.replaces = wanted.replaces, None
        if replaced is not None:
            self.drop(replaced)

    def _check(self) -> None:
        """Tell the agent if there is nothing left to do. Of several refusals the first counts."""
        refusals = [wanted.refusal for wanted in self._agent.wanted]
        if refusals and refusals[0] is not None and all(refusals) and not self._stopped:
            self._agent.given_up(refusals[0])

    def _keep(self, wanted: Wanted, asking: Any) -> None:
        self._forget(wanted)
        kept = self._again[wanted] = ensureDeferred(asking)
        kept.addBoth(self._enough, wanted, kept)

    def _enough(self, result: Any, wanted: Wanted, kept: Deferred[None]) -> None:
        if self._again.get(wanted) is kept:
            del self._again[wanted]
        if isinstance(result, Failure) and not result.check(CancelledError, ConnectionClosed):
            self.log.failure("a tunnel is not asked for again", result)
        self._check()

    async def _until_open(self, wanted: Wanted, failure: Failure) -> None:
        """Ask for a tunnel until it is open, or given up."""
        slow = failure.check(Refused) and not failure.check(Unavailable)
        delay, limit = (ASK_AGAIN_FIRST, ASK_AGAIN_LIMIT) if slow else (SOON_FIRST, SOON_LIMIT)
        before_open = wanted.been_open
        while True:
            await deferLater(self._agent.reactor, delay)
            delay = min(delay * 2, limit)
            try:
                await self._ask(wanted)
                if before_open:
                    self._agent.tell("notice", f"{wanted.tunnel} is open again")
                return
            except ConnectionClosed:
                return  # with the session, and so asked for on the next one
            except Exception:
                failure, before = Failure(), failure
            if _text(failure) == _text(before):
                self.log.info("{error}", error=_text(failure))
                continue
            self._refused(wanted, failure, anything=True)
            if wanted.refusal is not None:
                return
            slow = failure.check(Refused) and not failure.check(Unavailable)
            delay, limit = (ASK_AGAIN_FIRST, ASK_AGAIN_LIMIT) if slow else (SOON_FIRST, SOON_LIMIT)

    def _ask(self, wanted: Wanted) -> Deferred[None]:
        request = wanted.request
        asking: Deferred[Any] = self._control.callRemote(
            OpenTunnel,
            kind=request.kind.name,
            upstream=str(request.upstream),
            name=request.name,
            options=json.dumps(request.options) if request.options else None,
        )
        asking.addTimeout(OPEN_TIMEOUT, self._agent.reactor)
        self.asking += 1
        answer: Deferred[None] = Deferred()
        asking.addBoth(self._asked, wanted)
        # Who waits may be cancelled; the server answers all the same, and what it opened then is closed.
        asking.addBoth(lambda result: None if answer.called else answer.callback(result))
        return answer

    def _asked(self, answer: Any, wanted: Wanted) -> Any:
        self.asking -= 1
        if not isinstance(answer, Failure):
            wanted.tunnel, wanted.open, wanted.refusal = answer["tunnel"], True, None
            if wanted.dropped:
                self.drop(wanted)
            else:
                self._agent.opened(wanted, answer)
            self._replaced(wanted)
            return None
        self._agent.answered()
        return answer


def _text(failure: Failure) -> str:
    """Why a tunnel did not open, for a person."""
    if failure.check(TimeoutError):
        return f"the server did not answer within {OPEN_TIMEOUT:g} seconds"
    return failure.getErrorMessage()
