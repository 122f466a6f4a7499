"""A tunnel of a program: opened, looked at and closed from any thread or loop."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import time
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from burrow.client.agent import Agent
from burrow.client.config import ClientConfig
from burrow.client.inspect.replay import Replayer
from burrow.client.inspect.store import Store
from burrow.client.settings import credentials_of
from burrow.client.tunnels import TunnelRequest
from burrow.client.wanted import Opened
from burrow.errors import BurrowError
from burrow.link.address import Credentials
from burrow.program.home import Home, OwnThread, take
from burrow.program.records import Recorder, Request
from burrow.protocols.upstream import Upstream

EXIT_WITHIN = 3.0
"""Seconds that all tunnels together may take to end at the interpreter's exit."""

_open: set[Tunnel] = set()


@dataclass
class Plan:
    """
    What to open.

    @ivar finish: called on the reactor's thread when the tunnel has ended, or was not opened, with the
        reactor and whether nobody is to be waited for; the end waits for it. @ivar loop: has a part in that.
    @ivar home: where the tunnel lives, if that is not for L{take} to say.
    @ivar told: called with what happens to the session: an event and a sentence, as C{Agent.on_event} has
        them.
    """

    config: ClientConfig
    request: TunnelRequest
    finish: Callable[[Any, bool], Coroutine[Any, Any, None]] | None = None
    loop: asyncio.AbstractEventLoop | None = None
    home: Home | None = None
    told: Callable[[str, str], None] | None = None

    def open(self) -> Tunnel:
        """Open it, and wait until it is. @raise BurrowError: it cannot be opened."""
        tunnel = self._begin()
        try:
            tunnel._home.wait(tunnel._opening, "await burrow.aforward(...)")
        except BaseException:
            if tunnel._home.here:
                tunnel._stop(now=True)
            else:
                tunnel.close(now=True)
            raise
        return tunnel

    async def aopen(self) -> Tunnel:
        """The same for a coroutine."""
        tunnel = self._begin()
        try:
            await tunnel._home.outcome(tunnel._opening)
        except GeneratorExit:  # nothing more may be awaited
            tunnel._stop(now=True)
            raise
        except BaseException:
            await tunnel.aclose(now=True)
            raise
        return tunnel

    def _begin(self) -> Tunnel:
        credentials = credentials_of(self.config, os.environ)
        return Tunnel(self.home or take(), credentials, self)


class Opening:
    """What C{burrow.aforward} returns: C{async with} it, or C{await} it."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Tunnel]]) -> None:
        self._work = work
        self._tunnel: Tunnel | None = None

    def __await__(self) -> Generator[Any, Any, Tunnel]:
        return self._work().__await__()

    async def __aenter__(self) -> Tunnel:
        self._tunnel = await self._work()
        return self._tunnel

    async def __aexit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        assert self._tunnel is not None
        await self._tunnel.aclose(now=kind is not None)


class Tunnel:
    """
    An open tunnel.

    C{with} closes it at the end; so does the interpreter's exit. All methods may be called by any thread;
    those that begin with C{a} are for coroutines of asyncio, or of Twisted's running reactor.
    """

    def __init__(self, home: Home, credentials: Credentials, plan: Plan) -> None:
        self._home = home
        self._plan = plan
        self._opened: Opened | None = None
        self._agent: Agent | None = None
        self._recorder: Recorder | None = None
        self._stopping = self._now = False
        self._agent_stops: Deferred[None] | None = None
        self._result: Any = None
        self._ended: Future[None] = Future()  # with what ended it
        self._stopped: Future[None] = Future()  # for who asked for its end
        _open.add(self)
        self._opening = home.submit(lambda: self._live(credentials))

    def __repr__(self) -> str:
        state = "closed" if self.closed else self.url if self._opened else "not open yet"
        return f"<burrow.Tunnel {state}>"

    # -- what it is -----------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where visitors reach it."""
        return self._known.url

    @property
    def name(self) -> str:
        """Its name."""
        return self._known.name

    @property
    def _known(self) -> Opened:
        assert self._opened is not None
        return self._opened

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._ended.done()

    @property
    def requests(self) -> list[Request]:
        """What passed through it, oldest first, as much as is kept. @raise BurrowError: nothing is kept."""
        self._check_process()
        if self._recorder is None:
            raise BurrowError("this tunnel keeps no requests: leave no_inspect away")
        return self._recorder.all()

    def wait_closed(self, timeout: float | None = None) -> bool:
        """
        Wait until it has ended.

        @param timeout: seconds to wait at most. @return: whether it has ended.
        @raise BurrowError: what ended it: the server refuses it from now on.
        """
        self._check_process()
        try:
            self._home.wait(self._ended, "await tunnel.await_closed()") if timeout is None else (
                self._ended.result(timeout)
            )
        except TimeoutError:
            return False
        return True

    async def await_closed(self) -> None:
        """The same for a coroutine."""
        self._check_process()
        await self._home.outcome(self._ended)

    def when_ended(self, call: Callable[[BaseException | None], object]) -> None:
        """Have C{call} called with what ended it, on the reactor's thread; with None if it was closed."""
        self._ended.add_done_callback(lambda ended: call(ended.exception()))

    # -- its end --------------------------------------------------------------------------------------------

    def close(self, *, now: bool = False) -> None:
        """
        Close it, and wait until the requests that run have ended, as long as C{stop_grace} says.

        @param now: wait for none. Nothing happens if it is closed.
        """
        self._check_process()
        if self._plan.loop is not None and self._plan.loop is _running_loop():
            raise BurrowError("this would stop the loop that runs the app: write await tunnel.aclose()")
        self._home.wait(self._stop(now), "await tunnel.aclose()")
        self._join()

    async def aclose(self, *, now: bool = False) -> None:
        """The same for a coroutine."""
        self._check_process()
        await self._home.outcome(self._stop(now))
        self._join()

    def _join(self) -> None:
        if isinstance(self._home, OwnThread):
            self._home.join()

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(now=kind is not None)

    async def __aenter__(self) -> Tunnel:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        await self.aclose(now=kind is not None)

    def _check_process(self) -> None:
        if self._home.pid != os.getpid():
            raise BurrowError(
                f"this tunnel is process {self._home.pid}'s, from which this one was forked: open it where "
                "it is used, which for servers that fork is in each worker"
            )

    # -- on the reactor's thread ----------------------------------------------------------------------------

    async def _live(self, credentials: Credentials) -> None:
        """Start the agent. Returns when the tunnel is open."""
        config, request = self._plan.config, self._plan.request
        try:
            agent = Agent(
                self._home.reactor, credentials, [request], retry=False, stop_grace=config.stop_grace
            )
        except BaseException as error:
            self._result = Failure(error)
            await self._stop_agent(now=True)
            raise
        self._agent = agent
        if not config.no_inspect:
            self._record(agent)
        first: Deferred[None] = Deferred()

        def opened(opened: Opened) -> None:
            self._opened = opened
            if not first.called:
                agent.retry = not config.no_retry  # who begins wants to know at once that there is no server
                first.callback(None)

        def done(result: Any) -> None:
            self._result = result
            if not self._stopping:
                Deferred.fromCoroutine(self._stop_agent(now=True))
            if not first.called:
                failed = isinstance(result, Failure)
                first.errback(result if failed else BurrowError("the tunnel was closed before it was open"))

        if self._plan.told is not None:
            agent.on_event.append(self._plan.told)
        agent.on_opened.append(opened)
        agent.done.addBoth(done)
        agent.startService()
        await first

    def _record(self, agent: Agent) -> None:
        store = Store(self._plan.config.inspect_memory * 2**20)
        upstream = self._plan.request.upstream
        replayer = Replayer(
            agent.reactor,
            agent.traffic,
            store,
            lambda name: upstream if isinstance(upstream, Upstream) else getattr(upstream, "again", None),
        )
        agent.traffic.add(store)
        self._recorder = Recorder(self._home, store, replayer)

    def _stop(self, now: bool) -> Future[None]:
        """
        Begin to stop. May be called by any thread, and again: there is one end, for which all wait.

        @return: is done at the end.
        """
        if not self.closed:
            self._home.submit(lambda: self._stop_agent(now))
        return self._stopped

    async def _stop_agent(self, now: bool) -> None:
        agent = self._agent
        if now and not self._now:
            self._now = True
            if agent is not None:
                agent.stop_grace = 0.0
            if self._agent_stops is not None:
                self._agent_stops.cancel()  # for requests it waits no longer
        if self._stopping:
            return
        self._stopping = True
        try:
            if agent is not None:
                self._agent_stops = agent.stopService()
                with contextlib.suppress(CancelledError):
                    await self._agent_stops
            if self._plan.finish is not None:
                await self._plan.finish(self._home.reactor, self._now)
            if self._recorder is not None:
                self._recorder.replayer.stop()
        except Exception as error:
            self._over(error)
        else:
            self._over(None)

    def _over(self, error: Exception | None) -> None:
        """It has ended. C{error}: what went wrong at its end."""
        if isinstance(self._result, Failure) and self._result.value is not None:
            self._ended.set_exception(self._result.value)
        else:
            self._ended.set_result(None)
        _open.discard(self)
        self._home.release()
        if error is None:
            self._stopped.set_result(None)
        else:
            self._stopped.set_exception(error)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@atexit.register
def _close_all() -> None:
    """The interpreter ends: close the sessions, so that the servers know at once."""
    ends = time.monotonic() + EXIT_WITHIN
    ours = [tunnel for tunnel in _open if tunnel._home.pid == os.getpid() and not tunnel._home.here]
    for stopping in [tunnel._stop(now=True) for tunnel in ours]:
        try:
            stopping.result(max(0.0, ends - time.monotonic()))
        except Exception:  # what goes wrong here, nobody is left to be told
            continue
