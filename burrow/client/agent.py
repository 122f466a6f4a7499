"""
The agent: keeps its tunnels open through one connection to a server.

Its life is one loop: dial, register the tunnels (L{burrow.client.registration}), wait until the session is
lost or has to be left, dial again. It ends with an error that dialing again would not change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.client.backoff import Backoff
from burrow.client.registration import Registration
from burrow.client.streams import VisitorStreams
from burrow.client.tunnels import TunnelRequest
from burrow.client.wanted import Opened, WantedTunnels
from burrow.errors import Refused, ServerUnreachable
from burrow.link.address import Credentials, ServerAddress
from burrow.link.dial import Dialer
from burrow.link.linked import Linked
from burrow.protocols.forward import Connectors
from burrow.traffic.hub import Traffic
from burrow.wording import count_of

_POLL_RETIRED = 1.0
_POLL_RUNNING, _TELL_AFTER = 0.05, 1.0


class Agent(Service):
    """
    An agent.

    @param requests: the tunnels to keep open.
    @param retry: whether to dial again when the server cannot be reached or the session is lost, and to ask
        again for a tunnel that the server cannot open now.
    @param stop_grace: seconds that visitors' connections may take to end when the service is stopped. It may
        be changed before.
    @ivar wanted: the tunnels to keep open.
    @ivar traffic: is told of the requests and connections of visitors, with bodies and messages.
    @ivar streams: takes the visitors' streams of all sessions; knows which tunnels are open.
    @ivar on_opened: each is called with an L{Opened} when a tunnel is open, again after each reconnect.
    @ivar on_event: each is called with a word for programs ("connected", "disconnected", "refused", "notice",
        "stopping", "warning") and a sentence for people.
    @ivar linked: the present session, or the last one; None before the first.
    @ivar next_try: when the agent dials next, by its reactor's clock; None unless it waits for that.
    @ivar inspector: the URL of its inspector; empty if it has none.
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
        self.retry = retry
        self.wanted = WantedTunnels(requests)
        self.traffic = Traffic()
        self.streams = VisitorStreams(reactor, self._expects_tunnels, self.traffic)
        self.on_opened: list[Callable[[Opened], None]] = []
        self.on_event: list[Callable[[str, str], None]] = []
        self.inspector = ""
        self.done: Deferred[None] = Deferred()
        self._dialer = Dialer(reactor, credentials)
        self.stop_grace = stop_grace
        self._stopping = False
        self._backoff = Backoff()
        self.next_try: float | None = None
        self.linked: Linked | None = None
        self._registration: Registration | None = None
        self._retired: set[Linked] = set()
        self._told = ""
        self._failure: Failure | None = None
        self._life: Deferred[None] | None = None

    def change(self, requests: Sequence[TunnelRequest]) -> tuple[int, int]:
        """
        Keep these tunnels open from now on. Those that are the same as before are not touched; one that keeps
        its name takes its new upstream without being closed, and its visitors' connections go on.

        @return: how many are new or changed, and how many of those before are gone or changed.
        """
        added, gone = self.wanted.change(requests)
        successors = {wanted.request.name: wanted for wanted in added if wanted.request.name is not None}
        for wanted in gone:
            successor = successors.get(wanted.request.name or "")
            if self._registration is not None:
                self._registration.drop(wanted, successor)
            if successor is None and not self.wanted.is_open(wanted.tunnel):
                self.streams.remove(wanted.tunnel)
        if self._registration is not None:
            for wanted in added:
                self._registration.add(wanted)
        Connectors.forget(self.reactor)
        return len(added), len(gone)

    def inspected_at(self, url: str) -> None:
        """Its inspector serves at this URL: the server is told the port with each connection from now on."""
        self.inspector = url
        self._dialer.inspector = urlsplit(url).port or 0

    @property
    def server(self) -> ServerAddress:
        """The server that it was told to use."""
        return self._dialer.credentials.address

    @property
    def id(self) -> str:
        """This agent's id."""
        return self._dialer.credentials.agent

    def holds(self, text: str) -> bool:
        """Whether an event's sentence is of the present session's tunnels, and still true."""
        return self._registration is not None and text in self._registration.holds.values()

    def tell(self, event: str, text: str) -> None:
        """Call each of C{on_event}."""
        for listener in self.on_event:
            listener(event, text)

    # -- for its registration: see L{IRegistering<burrow.client.registration.IRegistering>} -----------------

    def opened(self, opened: Opened) -> None:
        """A tunnel is open, for the first time on this session."""
        for listener in self.on_opened:
            listener(opened)

    def end(self, why: Refused) -> None:
        """The agent has nothing left to do: C{done} fails with C{why}."""
        if self._life is not None and not self.done.called:
            life, self._life = self._life, None
            life.addErrback(lambda reason: None)
            self.done.errback(Failure(why))
            life.cancel()

    def _expects_tunnels(self) -> bool:
        return self._registration is not None and self._registration.asking > 0

    # -- its life -------------------------------------------------------------------------------------------

    def startService(self) -> None:
        """Begin to dial."""
        super().startService()
        self._life = Deferred.fromCoroutine(self._live())
        self._life.addCallbacks(self.done.callback, self._ended)

    def _ended(self, reason: Failure) -> None:
        if reason.check(CancelledError):
            self.done.callback(None)
        else:
            self.done.errback(reason)

    async def _live(self) -> None:
        while True:
            before = self.linked
            try:
                linked = await self._dialer.dial(None if before is None or before.leaving else before)
                if linked is not before:
                    # A server that restarts moves its agents: no person has to know of it.
                    moved = before is not None and before.leaving and not self._told
                    self._replace(before, linked)
                    if not moved:
                        self.tell("connected", f"connected to {self._dialer.credentials.address}")
                elif self._told:
                    self._settled()
                    self.tell("connected", "connected again")
                await self._trouble(linked)
                if linked.attached:
                    continue  # only suspected: the next connection takes over while this one may still work
                raise ServerUnreachable("the connection to the server was lost")
            except ServerUnreachable as error:
                if not self.retry:
                    raise
                if not self._attached:
                    self._tell_disconnected(error)
            delay = self._backoff.next()
            self.next_try = self.reactor.seconds() + delay
            await deferLater(self.reactor, delay)
            self.next_try = None

    async def _trouble(self, linked: Linked) -> None:
        """Wait until it is time to dial again. @raise BurrowError: the tunnels could not be registered."""
        if linked.attached and not linked.leaving and self._failure is None:
            await linked.trouble()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            if self.retry and failure.check(ServerUnreachable):
                self._tell_disconnected(failure.value)
            failure.raiseException()

    def _tell_disconnected(self, error: BaseException | None) -> None:
        """Tell why no tunnel is open; the same reason only once."""
        if str(error) != self._told:
            self._told = str(error)
            self.tell("disconnected", f"{error}; trying again")
            self.log.info("the agent has no session: {error}", error=error)

    def _settled(self) -> None:
        """The tunnels are registered: the next failure is told whatever it is, and tried again at once."""
        self._told = ""
        self._backoff.reset()

    @property
    def _attached(self) -> bool:
        return self.linked is not None and self.linked.attached

    # -- the present session, and those that it replaced ----------------------------------------------------

    def _replace(self, before: Linked | None, linked: Linked) -> None:
        """
        Register the tunnels on a new session. The one before is aborted if it has no connection, since the
        server does not know it any more; else it ends when its visitors' streams have ended.
        """
        if self._stopping:
            linked.session.close("the agent stops")
            return
        self.linked = linked
        self._stop_registration()
        linked.session.listen(self.streams)
        if before is not None and not before.session.lost:
            if before.leaving or before.attached:
                self._retired.add(before)
                retiring = Deferred.fromCoroutine(self._retire(before))
                retiring.addErrback(self._not_retired, before)
            else:
                before.session.abort()
        self._failure = None
        self._registration = Registration(self, linked)
        registering = Deferred.fromCoroutine(self._registration.open_all())
        registering.addCallbacks(lambda _: self._settled(), self._not_registered, errbackArgs=(linked,))

    def _stop_registration(self) -> None:
        registration, self._registration = self._registration, None
        if registration is not None:
            registration.stop()

    def _not_registered(self, reason: Failure, linked: Linked) -> None:
        if linked is self.linked:
            self._failure = reason
            linked.report_trouble()

    async def _retire(self, linked: Linked) -> None:
        """
        Keep a session connected that was replaced: until its server ends it, if the server asked the agent to
        leave it; else until no visitor's stream is left on it.
        """
        backoff = Backoff()
        while not linked.session.lost:
            if linked.attached:
                if not linked.leaving and linked.session.stream_count <= 1:  # its control channel
                    linked.session.close("another session took its place")
                    break
                with contextlib.suppress(TimeoutError):
                    await linked.trouble().addTimeout(_POLL_RETIRED, self.reactor)
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

    def _not_retired(self, reason: Failure, linked: Linked) -> None:
        self.log.info(
            "a session that was replaced is aborted, with its visitors' streams: {reason}",
            reason=reason.getErrorMessage(),
        )
        self._retired.discard(linked)
        linked.session.abort()

    # -- its end --------------------------------------------------------------------------------------------

    def stopService(self) -> Deferred[None]:
        """
        Close the tunnels, wait C{stop_grace} seconds at most until the visitors' connections have ended, and
        close the session.

        @return: fires when that is done. When it is cancelled, nothing more is waited for.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        with contextlib.suppress(CancelledError):
            await self._finish()
        self._stop_registration()
        if self._life is not None:
            self._life.cancel()
        self.streams.stop()
        await self._say_goodbye()

    async def _finish(self) -> None:
        """
        Close the tunnels, so that no more visitors come, and wait until the connections of those that are
        here have ended. The server ends those without a request: see L{burrow.server.finishing}.
        """
        self._stopping = True
        if not self._attached or self._registration is None or self._life is None or self._life.called:
            return
        ends = self.reactor.seconds() + self.stop_grace
        count = self.visitors
        if not count or not self.stop_grace:
            return
        for wanted in self.wanted.all:
            self._registration.drop(wanted)
        told = False
        while self.visitors and self.reactor.seconds() < ends:
            if not told and self.reactor.seconds() > ends - self.stop_grace + _TELL_AFTER:
                within = f"{count_of(count, 'connection')} may finish within {self.stop_grace:g} s"
                self.tell("stopping", f"{within}; a second signal, or Ctrl-C, ends it now")
                told = True
            await deferLater(self.reactor, _POLL_RUNNING)

    @property
    def visitors(self) -> int:
        """How many visitors' connections there are: all streams but the sessions' control channels."""
        sessions = [linked.session for linked in {self.linked, *self._retired} if linked is not None]
        return sum(max(0, session.stream_count - 1) for session in sessions if not session.lost)

    async def _say_goodbye(self) -> None:
        """Close all sessions, and wait for the present one: see L{Linked.say_goodbye}."""
        for retired in list(self._retired):
            retired.session.close("the agent stops")
        if self.linked is not None:
            await self.linked.say_goodbye(self.reactor, "the agent stops")
