"""
The control channel of one session: the agent asks the server there for its tunnels, and asks again for those
that it did not get (L{burrow.client.refusals}). The server tells there what becomes of them.

A refusal of one tunnel changes nothing about the others. The agent ends when all are given up.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectionClosed
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.client.refusals import (
    OPEN_TIMEOUT,
    delays,
    is_permanent,
    passes_soon,
    reason,
    what_to_install,
)
from burrow.client.streams import VisitorStreams
from burrow.client.wanted import Opened, Wanted, WantedTunnels
from burrow.errors import Refused, ServerUnreachable, UnknownProtocol
from burrow.link.linked import Linked
from burrow.mux.channel import BoundedAMP
from burrow.mux.control import CloseTunnel, Drain, Notice, OpenTunnel
from burrow.mux.endpoint import StreamClientEndpoint


class IRegistering(Protocol):
    """
    What a registration needs of its agent.

    @ivar retry: whether to ask again for a tunnel that the server cannot open now.
    """

    @property
    def id(self) -> str:
        """The agent's id."""
        ...

    reactor: Any
    wanted: WantedTunnels
    streams: VisitorStreams
    retry: bool

    def opened(self, opened: Opened) -> None:
        """A tunnel is open, for the first time on this session."""

    def tell(self, event: str, text: str) -> None:
        """Something for the person at the terminal: see L{burrow.client.agent.Agent.on_event}."""

    def end(self, why: Refused) -> None:
        """The agent has nothing left to do."""


class _Control(BoundedAMP):
    """The agent's end of the control channel."""

    def __init__(self, registration: Registration, linked: Linked) -> None:
        super().__init__()
        self._registration = registration
        self._linked = linked

    @Drain.responder
    def drain(self) -> dict[str, str]:
        """See L{Drain}."""
        self._linked.leave()
        return {}

    @Notice.responder
    def notice(self, code: str, text: str, tunnel: str | None = None) -> dict[str, str]:
        """See L{Notice}."""
        self._registration.noticed(code, text, tunnel)
        return {}

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The control channel ended: nothing can be opened without it, so the session ends too."""
        super().connectionLost(reason)
        if not self._linked.session.lost:
            self._linked.session.close("the control channel ended")


class Registration:
    """
    An agent's tunnels on one session.

    @ivar asking: how many requests the server has not answered yet.
    @ivar holds: what was told and is true now, but need not stay so: of a tunnel that is open, by its name,
        and of one that is asked for again.
    """

    log = Logger()

    def __init__(self, agent: IRegistering, linked: Linked) -> None:
        self._agent = agent
        self._linked = linked
        self._control = _Control(self, linked)
        self.asking = 0
        self.holds: dict[str | Wanted, str] = {}
        self._attempts: dict[Wanted, Deferred[None]] = {}
        self._stopped = False
        self._had = {wanted.tunnel for wanted in agent.wanted.all if wanted.been_open}

    async def open_all(self) -> None:
        """
        Open the control channel, and ask for every tunnel that is wanted. Returns when the server has
        answered once for each.

        @raise ServerUnreachable: the session was lost meanwhile; or the server cannot open a tunnel now, and
            the agent does not retry.
        """
        await connectProtocol(StreamClientEndpoint(self._linked.session), self._control)
        tunnels = list(self._agent.wanted.all)
        for wanted in tunnels:
            wanted.open, wanted.refusal = False, None
        answers: list[tuple[bool, Any]] = await DeferredList(
            [self._ask(wanted) for wanted in tunnels], consumeErrors=True
        )
        failed: list[tuple[Wanted, Failure]] = [
            (wanted, answer) for wanted, (good, answer) in zip(tunnels, answers, strict=True) if not good
        ]
        for _, failure in failed:
            if failure.check(ConnectionClosed) or (passes_soon(failure) and not self._agent.retry):
                raise ServerUnreachable(f"the server opened no tunnel: {reason(failure)}")
        first_start = not any(wanted.been_open for wanted in self._agent.wanted.all)
        for wanted, failure in failed:
            if not self._refused(wanted, failure, first_start=first_start):
                self._begin(wanted, self._ask_until_open(wanted, failure))
        self._end_if_all_are_given_up()

    def add(self, wanted: Wanted) -> None:
        """Ask for one more tunnel."""
        if not self._stopped:
            self._begin(wanted, self._open(wanted))

    def drop(self, wanted: Wanted, successor: Wanted | None = None) -> None:
        """
        Ask for a tunnel no more, and close it if it is open and no other that is wanted is the same.

        @param successor: a tunnel of the same name that is asked for now: the old one is closed when the
            successor is open or given up.
        """
        wanted.dropped = True
        self._cancel(wanted)
        self.holds.pop(wanted, None)
        replaced, wanted.replaces = wanted.replaces, None
        if replaced is not None:
            self.drop(replaced, successor)
        if not wanted.open or self._stopped:
            return
        if successor is not None:
            successor.replaces = wanted
            return
        wanted.open = False
        if not self._agent.wanted.is_open(wanted.tunnel):
            self.holds.pop(wanted.tunnel, None)
            closing: Deferred[Any] = self._control.callRemote(CloseTunnel, tunnel=wanted.tunnel)
            closing.addErrback(self._not_closed, wanted)

    def stop(self) -> None:
        """Ask for nothing more: another session takes the place of this one, or the agent stops."""
        self._stopped = True
        for wanted in list(self._attempts):
            self._cancel(wanted)

    def noticed(self, code: str, text: str, tunnel: str | None) -> None:
        """
        The server tells something: see L{Notice}. On a session that was replaced, or is left, only a revoked
        token is news: all else was caused by the agent's next session.
        """
        if code == "revoked":
            self._agent.end(Refused(text))
            return
        if self._stopped or self._linked.leaving:
            return
        if code == "took-over" and tunnel in self._had:
            return  # from an earlier session of this agent
        if code in ("taken-over", "released") and tunnel is not None:
            self._agent.streams.remove(tunnel)
            self._agent.wanted.remove_open(tunnel)
            self.holds.pop(tunnel, None)
            if not self._agent.wanted.all:
                self._agent.end(Refused(text))
                return
        if code == "http1-only" and tunnel is not None and len(self.holds) < 2 * len(self._agent.wanted.all):
            self.holds[tunnel] = text
        self._agent.tell("notice", text)

    # -- one request ----------------------------------------------------------------------------------------

    def _ask(self, wanted: Wanted) -> Deferred[None]:
        """
        Ask for a tunnel once.

        @return: fires when it is open; fails with the server's refusal, a
            L{TimeoutError<twisted.internet.defer.TimeoutError>} or a L{ConnectionClosed}. May be cancelled:
            the server answers all the same, and what it opens then is closed.
        """
        request = wanted.request
        if request.name is not None:
            self.holds.pop(request.name, None)  # the server says it again, before it answers, if it is so
        asking: Deferred[Any] = self._control.callRemote(
            OpenTunnel,
            kind=request.kind.name,
            upstream=str(request.upstream),
            name=request.name,
            options=json.dumps(sent) if (sent := request.sent(self._agent.id)) else None,
            # As if they were not there where they are 1: so a server of an older release is asked as before.
            version=request.kind.version if request.kind.version > 1 else None,
            oldest=request.kind.oldest if request.kind.oldest > 1 else None,
        )
        asking.addTimeout(OPEN_TIMEOUT, self._agent.reactor)
        self.asking += 1
        answer: Deferred[None] = Deferred()
        asking.addBoth(self._answered, wanted)
        asking.addBoth(lambda result: None if answer.called else answer.callback(result))
        return answer

    def _answered(self, answer: Any, wanted: Wanted) -> Failure | None:
        self.asking -= 1
        failure = answer if isinstance(answer, Failure) else None
        if failure is None:
            wanted.tunnel, wanted.open, wanted.refusal = answer["tunnel"], True, None
            self.holds.pop(wanted, None)
            if wanted.dropped:
                self.drop(wanted)
            else:
                version = answer.get("version") or 1
                opened = getattr(wanted.request.kind, "opened", None)
                if opened is not None:  # it has something to do as long as its tunnel is open
                    answer["url"] = opened(self._agent.reactor, answer["url"], self._agent.tell)
                self._agent.streams.add(wanted.tunnel, wanted.request, version, answer["url"])
        self._agent.streams.answered()
        if failure is None:
            if not wanted.dropped:
                self._agent.opened(Opened(wanted.request, answer["name"], answer["url"]))
            self._drop_replaced(wanted)
        return failure

    def _refused(self, wanted: Wanted, failure: Failure, *, first_start: bool = False) -> bool:
        """Tell that a tunnel was not opened. @return: whether it is given up."""
        error = failure.value
        if isinstance(error, UnknownProtocol):
            error = UnknownProtocol(f"{error}{what_to_install(wanted.request.kind)}")
        if isinstance(error, Refused) and is_permanent(
            error, been_open=wanted.been_open, first_start=first_start
        ):
            wanted.refusal = error
            self.holds.pop(wanted, None)
            self._drop_replaced(wanted)
            if len(self._agent.wanted.all) > 1:
                self._agent.tell("refused", str(error))
            return True
        self.holds[wanted] = f"{reason(failure)}; trying again"
        self._agent.tell("refused", self.holds[wanted])
        return False

    def _drop_replaced(self, wanted: Wanted) -> None:
        replaced, wanted.replaces = wanted.replaces, None
        if replaced is not None:
            self.drop(replaced)

    def _not_closed(self, failure: Failure, wanted: Wanted) -> None:
        self.log.info(
            "the server did not close tunnel {tunnel}: {error}",
            tunnel=wanted.tunnel,
            error=failure.getErrorMessage(),
        )

    # -- asking again ---------------------------------------------------------------------------------------

    def _begin(self, wanted: Wanted, attempts: Coroutine[Any, Any, None]) -> None:
        """Run the attempts to open a tunnel, until they end or L{_cancel} is called."""
        self._cancel(wanted)
        running = self._attempts[wanted] = Deferred.fromCoroutine(attempts)
        running.addBoth(self._attempts_ended, wanted, running)

    def _cancel(self, wanted: Wanted) -> None:
        running = self._attempts.pop(wanted, None)
        if running is not None:
            running.cancel()

    def _attempts_ended(self, result: Any, wanted: Wanted, running: Deferred[None]) -> None:
        if self._attempts.get(wanted) is running:
            del self._attempts[wanted]
        if isinstance(result, Failure) and not result.check(CancelledError):
            self.log.failure("a tunnel is not asked for again, because of an error in the agent", result)
        self._end_if_all_are_given_up()

    async def _open(self, wanted: Wanted) -> None:
        """Ask for a tunnel until it is open or given up, or the session is lost."""
        failure = await self._ask_once(wanted)
        if failure is not None and not self._refused(wanted, failure):
            await self._ask_until_open(wanted, failure)

    async def _ask_until_open(self, wanted: Wanted, failure: Failure) -> None:
        """The same for a tunnel that was not opened just now, because of C{failure}."""
        was_open = wanted.been_open
        delay, limit = delays(failure)
        while True:
            await deferLater(self._agent.reactor, delay)
            delay = min(delay * 2, limit)
            before, again = failure, await self._ask_once(wanted)
            if again is None:
                if was_open and wanted.open:
                    self._agent.tell("notice", f"{wanted.tunnel} is open again")
                return
            failure = again
            if reason(failure) == reason(before):
                self.log.info("{error}", error=reason(failure))
                continue
            if self._refused(wanted, failure):
                return
            delay, limit = delays(failure)

    async def _ask_once(self, wanted: Wanted) -> Failure | None:
        """
        @return: why the tunnel is not open; None if it is, or if the session is lost, since it is asked for
            on the next one then.
        """
        try:
            await self._ask(wanted)
        except CancelledError:
            raise
        except ConnectionClosed:
            return None
        except Exception:
            return Failure()
        return None

    def _end_if_all_are_given_up(self) -> None:
        """Of several refusals the agent ends with the first."""
        refusals = [wanted.refusal for wanted in self._agent.wanted.all]
        if refusals and refusals[0] is not None and all(refusals) and not self._stopped:
            self._agent.end(refusals[0])
