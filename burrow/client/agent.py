"""
The agent: one connection to a server, the tunnels on it, and what to do when it breaks.

Its life is one loop: dial, open all tunnels, wait until the session is lost, dial again. A refusal that
asking again would not change ends it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.client.backoff import Backoff
from burrow.client.opening import Opened, Opening, Wanted
from burrow.client.streams import VisitorStream, VisitorStreams
from burrow.client.tunnels import TunnelRequest
from burrow.errors import Refused, ServerUnreachable
from burrow.link.address import Credentials
from burrow.link.dial import Dialer
from burrow.link.linked import Linked
from burrow.mux.channel import BoundedAMP
from burrow.mux.control import Drain, Notice
from burrow.mux.endpoint import StreamClientEndpoint
from burrow.protocols.forward import Connectors

GOODBYE_TIMEOUT = 1.0
"""Seconds to wait for the server's good-bye when the agent stops."""

_LOOK_AT_RETIRED = 1.0
_LOOK_AT_RUNNING, _TELL_AFTER = 0.05, 1.0


class _Control(BoundedAMP):
    """The agent's end of the control channel."""

    def __init__(self, agent: Agent, linked: Linked) -> None:
        super().__init__()
        self._agent = agent
        self._linked = linked

    @Drain.responder
    def drain(self) -> dict[str, str]:
        """See L{Drain}."""
        self._linked.leave()
        return {}

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The control channel ended: nothing can be opened without it, so the session ends too."""
        super().connectionLost(reason)
        if not self._linked.session.lost:
            self._linked.session.close("the control channel ended")

    @Notice.responder
    def notice(self, code: str, text: str, tunnel: str | None = None) -> dict[str, str]:
        """
        See L{Notice}. What a session says that we have left, we know: our own next session caused it; but for
        the token, which is the same for all.
        """
        if code == "revoked" or (not self._linked.leaving and self._agent.uses(self._linked)):
            self._agent.notice(code, text, tunnel)
        return {}


class Agent(Service):
    """
    An agent.

    @param requests: the tunnels to keep open.
    @param retry: whether to dial again when the server cannot be reached or the session is lost, and to ask
        again for a tunnel that the server cannot open now.
    @param stop_grace: seconds that what runs may take to end when the service is stopped.
    @ivar wanted: the tunnels to keep open.
    @ivar open_tunnels: the requests by the tunnel that the server opened for each.
    @ivar waiting_streams: streams of tunnels that are not known yet: they come faster than the server's word
    that their tunnel is open.
    @ivar on_opened: each is called with an L{Opened} when a tunnel is open, again after each reconnect.
    @ivar on_event: each is called with a word for programs ("connected", "disconnected", "refused", "notice",
    "stopping") and a sentence for people.
    @ivar done: fires with None when the service was stopped, or fails with the
    L{BurrowError<burrow.errors.BurrowError>} that ended it.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        credentials: Credentials,
        requests: Sequence[TunnelRequest],
        *,
        retry: bool = True,
        stop_grace: float = 0.0,
    ) -> None:
        self.reactor = reactor
        self.wanted = [Wanted(request) for request in requests]
        self.open_tunnels: dict[str, TunnelRequest] = {}
        self.on_opened: list[Callable[[Opened], None]] = []
        self.on_event: list[Callable[[str, str], None]] = []
        self.done: Deferred[None] = Deferred()
        self._dialer = Dialer(reactor, credentials)
        self.retry = retry
        self._stop_grace = stop_grace
        self._stopping = False
        self._backoff = Backoff()
        self._linked: Linked | None = None
        self._retired: set[Linked] = set()
        self._told = ""
        self._failure: Failure | None = None
        self._opening: Opening | None = None
        self.waiting_streams: set[VisitorStream] = set()
        self._life: Deferred[None] | None = None

    def change(self, requests: Sequence[TunnelRequest]) -> tuple[int, int]:
        """
        Keep these tunnels open from now on. Those that are the same as before are not touched; one that keeps
        its name takes its new upstream without being closed, and what runs on it goes on.

        @return: how many are new or changed, and how many of those before are gone or changed.
        """
        before = list(self.wanted)
        now: list[Wanted] = []
        for request in requests:
            same = next((wanted for wanted in before if wanted.request == request), None)
            if same is not None:
                before.remove(same)
            now.append(same or Wanted(request))
        added = [wanted for wanted in now if wanted not in self.wanted]
        self.wanted = now
        if self._opening is not None:
            successors = {wanted.request.name: wanted for wanted in added if wanted.request.name is not None}
            for gone in before:
                successor = successors.get(gone.request.name or "")
                self._opening.drop(gone, successor)
                if successor is None:
                    self.open_tunnels.pop(gone.tunnel, None)
            for wanted in added:
                self._opening.add(wanted)
        Connectors.forget(self.reactor)
        return len(added), len(before)

    # -- its life ---------------------------------------------------------------------------------------

    def startService(self) -> None:
        """Begin to dial."""
        super().startService()
        self._life = ensureDeferred(self._live())
        self._life.addCallbacks(self.done.callback, self._ended)

    def stopService(self) -> Deferred[None]:
        """
        Close the tunnels, let what runs end for C{stop_grace} seconds at most, say good-bye to the server.

        @return: fires when that is done. Its cancelling ends what still runs now.
        """
        super().stopService()
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        with contextlib.suppress(CancelledError):
            await self._finish()
        self._leave_opening()
        if self._life is not None:
            self._life.cancel()
        await self._say_goodbye()

    async def _finish(self) -> None:
        """
        Have the server send no more visitors, and wait until what they began has ended. It knows what that
        is, and ends streams that are only kept: see L{burrow.server.finishing}.
        """
        self._stopping = True
        if not self._attached or self._opening is None or self._life is None or self._life.called:
            return
        ends = self.reactor.seconds() + self._stop_grace
        count = self._running
        if not count or not self._stop_grace:
            return
        for wanted in list(self.wanted):
            self._opening.drop(wanted)
        while self._running and self.reactor.seconds() < ends:
            if count and self.reactor.seconds() > ends - self._stop_grace + _TELL_AFTER:
                these = "1 connection" if count == 1 else f"{count} connections"
                within = f"{these} may finish within {self._stop_grace:g} s"
                self.tell("stopping", f"{within}; a second signal, or Ctrl-C, ends it now")
                count = 0  # told
            await deferLater(self.reactor, _LOOK_AT_RUNNING)

    @property
    def _running(self) -> int:
        """The visitors' streams: all but the sessions' control channels."""
        sessions = [linked.session for linked in {self._linked, *self._retired} if linked is not None]
        return sum(max(0, session.stream_count - 1) for session in sessions if not session.lost)

    async def _say_goodbye(self) -> None:
        for retired in list(self._retired):
            retired.session.close("the agent stops")
        linked = self._linked
        if linked is None or linked.session.lost:
            return
        said: Deferred[None] = Deferred()
        linked.session.on_lost.append(lambda reason: said.callback(None))
        linked.session.close("the agent stops")
        said.addTimeout(GOODBYE_TIMEOUT, self.reactor)
        try:
            await said
        except TimeoutError:
            linked.session.abort()

    def _ended(self, reason: Failure) -> None:
        if reason.check(CancelledError):
            self.done.callback(None)
        else:
            self.done.errback(reason)

    async def _live(self) -> None:
        while True:
            before = self._linked
            try:
                linked = await self._dialer.dial(None if before is None or before.leaving else before)
                if linked is not before:
                    moved = before is not None and before.leaving and not self._told
                    self._replace(before, linked)
                    if not moved:  # a server that replaces itself is nothing that a person need know
                        self.tell("connected", f"connected to {self._dialer.credentials.address}")
                elif self._told:
                    self._settled()
                    self.tell("connected", "connected again")
                await self._trouble(linked)
                if linked.attached:
                    continue  # only suspected: the next connection takes over while this one still may work
                raise ServerUnreachable("the connection to the server was lost")
            except ServerUnreachable as error:
                if not self.retry:
                    raise
                if not self._attached:
                    self._tell(error)
            await deferLater(self.reactor, self._backoff.next())

    def _tell(self, error: BaseException | None) -> None:
        """Say why there is no tunnel, once."""
        if str(error) != self._told:
            self._told = str(error)
            self.tell("disconnected", f"{error}; trying again")
            self.log.info("{error}", error=error)

    def _settled(self) -> None:
        """Everything is as it should be: the next failure is told anew, and tried again at once."""
        self._told = ""
        self._backoff.reset()

    @property
    def _attached(self) -> bool:
        return self._linked is not None and self._linked.attached

    def _replace(self, before: Linked | None, linked: Linked) -> None:
        """
        Use a new session. The one before ends, since the server does not know it any more; or, if its server
        asked us to leave it or it still is connected, once what runs on it has ended.
        """
        if self._stopping:
            linked.session.close("the agent stops")  # what ran was lost with the session before
            return
        self._linked = linked
        self._leave_opening()
        linked.session.listen(VisitorStreams(self))
        if before is not None and not before.session.lost:
            if before.leaving or before.attached:
                self._retired.add(before)
                ensureDeferred(self._retire(before)).addErrback(self._not_retired, before)
            else:
                before.session.abort()
        self._failure = None
        opening = ensureDeferred(self._open_all(linked))
        opening.addCallbacks(lambda _: self._settled(), self._not_opened, errbackArgs=(linked,))

    async def _retire(self, linked: Linked) -> None:
        """
        Keep a session connected that was left, until its server ends it; or, if the server does not know that
        it was left, until nothing runs on it.
        """
        backoff = Backoff()
        while not linked.session.lost:
            if linked.attached:
                if not linked.leaving and linked.session.stream_count <= 1:  # its control channel
                    linked.session.close("another session took its place")
                    break
                with contextlib.suppress(TimeoutError):
                    await linked.trouble().addTimeout(_LOOK_AT_RETIRED, self.reactor)
                continue
            try:
                other = await self._dialer.dial(linked)
            except ServerUnreachable:
                await deferLater(self.reactor, backoff.next())
                continue
            if other is not linked:
                other.session.abort()
                linked.session.abort()
        self._retired.discard(linked)

    def _leave_opening(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.stop()

    def _not_retired(self, reason: Failure, linked: Linked) -> None:
        self.log.info("a session that was left is lost: {reason}", reason=reason.getErrorMessage())
        self._retired.discard(linked)
        linked.session.abort()

    def _not_opened(self, reason: Failure, linked: Linked) -> None:
        if linked is self._linked:
            self._failure = reason
            linked.report_trouble()

    async def _trouble(self, linked: Linked) -> None:
        """Wait until it is time to dial again. @raise BurrowError: the tunnels could not be opened."""
        if linked.attached and not linked.leaving and self._failure is None:
            await linked.trouble()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            if self.retry and failure.check(ServerUnreachable):
                self._tell(failure.value)
            failure.raiseException()

    async def _open_all(self, linked: Linked) -> None:
        """@raise ServerUnreachable: see L{Opening.open_all}."""
        control: Any = await connectProtocol(StreamClientEndpoint(linked.session), _Control(self, linked))
        self._opening = Opening(self, control)
        await self._opening.open_all()

    # -- what its opening says: see L{ForOpening} ----------------------------------------------------------

    def opened(self, wanted: Wanted, answer: dict[str, str]) -> None:
        """A tunnel is open, for the first time on this session."""
        self.open_tunnels[wanted.tunnel] = wanted.request
        self.answered()
        opened = Opened(wanted.request, answer["name"], answer["url"])
        for listener in self.on_opened:
            listener(opened)

    def tell(self, event: str, text: str) -> None:
        """Something for the person who reads the screen."""
        for listener in self.on_event:
            listener(event, text)

    def answered(self) -> None:
        """The streams that wait for a tunnel look again, and end if nothing more is to be answered."""
        waiting, self.waiting_streams = self.waiting_streams, set()
        for stream in waiting:
            stream.look()

    def given_up(self, refusal: Refused) -> None:
        """No tunnel is open, and none is asked for again: the agent ends."""
        if self._linked is not None:
            self._not_opened(Failure(refusal), self._linked)

    def wait_for_tunnel(self, stream: VisitorStream) -> None:
        """A stream's tunnel is not known: keep it while the server still has something to answer."""
        if self._opening is not None and self._opening.asking:
            stream.transport.pauseProducing()
            self.waiting_streams.add(stream)
        else:
            stream.transport.abortConnection()

    def uses(self, linked: Linked) -> bool:
        """Whether a session is the present one, and not one that was replaced."""
        return linked is self._linked

    # -- what the server says ------------------------------------------------------------------------------

    def notice(self, code: str, text: str, tunnel: str | None) -> None:
        """Something the person should read; or that a tunnel, or the token, is good no more."""
        if code == "revoked":
            self._end(text)
            return
        self.tell("notice", text)
        if code in ("taken-over", "released") and tunnel is not None:
            self.open_tunnels.pop(tunnel, None)
            self.wanted = [wanted for wanted in self.wanted if not (wanted.open and wanted.tunnel == tunnel)]
            if not self.wanted:
                self._end(text)

    def _end(self, why: str) -> None:
        """Nothing is left to do here: C{done} fails with C{why}."""
        if self._life is not None and not self.done.called:
            life, self._life = self._life, None
            life.addErrback(lambda reason: None)
            self.done.errback(Failure(Refused(why)))
            life.cancel()
