"""
Where a program's tunnels live: a thread with a reactor of its own, or the reactor that the program runs.

The thread's reactor is not C{twisted.internet.reactor}: that stays the program's to install and to run. The
thread is a daemon. It begins with the first tunnel and ends with the last; a process that was forked while it
ran has none, and begins its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python import threadable
from twisted.python.failure import Failure

from burrow.clock import measure_by_ticks
from burrow.errors import BurrowError
from burrow.program.logs import log_by_logging

_T = TypeVar("_T")

JOIN_WITHIN = 5.0
"""Seconds that the thread may take to end."""


class Home:
    """
    A reactor and the thread that runs it.

    @ivar thread: the thread's number. @ivar pid: the process's.
    """

    def __init__(self, reactor: Any, thread: int | None) -> None:
        self.reactor = reactor
        self.thread = thread
        self.pid = os.getpid()
        self.running = True

    @property
    def here(self) -> bool:
        """Whether this is the reactor's own thread."""
        return threading.get_ident() == self.thread

    def submit(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> Future[_T]:
        """Run a coroutine of Deferreds on the reactor's thread. May be called by any thread."""
        future: Future[_T] = Future()

        def failed(reason: Failure) -> None:
            future.set_exception(reason.value or RuntimeError(reason.getErrorMessage()))

        def begin() -> None:
            if future.set_running_or_notify_cancel():
                Deferred.fromCoroutine(work()).addCallbacks(future.set_result, failed)

        if self.here:
            begin()
        elif not self.running:
            future.set_exception(BurrowError("the tunnel is closed"))
        else:
            self.reactor.callFromThread(begin)
        return future

    def call(self, function: Callable[[], _T]) -> _T:
        """What a function returns on the reactor's thread. Once that has ended, it is called here."""
        if self.here or not self.running:
            return function()

        async def work() -> _T:
            return function()

        return self.submit(work).result()

    def wait(self, future: Future[_T], instead: str) -> _T:
        """
        Wait for the outcome of L{submit}.

        @param instead: what to write where nothing may wait.
        @raise BurrowError: this is the reactor's thread.
        """
        if self.here and not future.done():
            raise BurrowError(f"this would stop Twisted's reactor, which is to do it: write {instead}")
        return future.result()

    async def outcome(self, future: Future[_T]) -> _T:
        """The same for a coroutine: of asyncio's, or of Twisted's on the reactor's thread."""
        try:
            in_task = asyncio.current_task() is not None
        except RuntimeError:
            in_task = False
        if in_task:
            return await _outcome_in(asyncio.get_running_loop(), future)
        # Who waits is Twisted's: on the reactor of this home, or on one that the program has yet to run.
        return await _outcome_on(sys.modules.get("twisted.internet.reactor", self.reactor), future)

    def release(self) -> None:
        """A tunnel has ended."""


async def _outcome_in(loop: asyncio.AbstractEventLoop, future: Future[_T]) -> _T:
    """
    The outcome for a task of asyncio's. C{asyncio.wrap_future} would cancel what all wait for with one who
    waits.
    """
    done: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not done.done():
            done.set_result(None)

    def ended(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(tell)

    future.add_done_callback(ended)
    await done
    return future.result()


async def _outcome_on(reactor: Any, future: Future[_T]) -> _T:
    """The outcome for who waits on a reactor's thread."""
    done: Deferred[None] = Deferred()
    future.add_done_callback(lambda _: reactor.callFromThread(done.callback, None))
    await done
    return future.result()


class GivenReactor(Home):
    """A reactor that the program named, perhaps before it runs it. Who waits is Twisted's, also in a task."""

    async def outcome(self, future: Future[_T]) -> _T:
        """See L{Home}."""
        return await _outcome_on(self.reactor, future)


class OwnThread(Home):
    """A daemon thread with a reactor. @ivar users: the tunnels that live here."""

    def __init__(self) -> None:
        log_by_logging()
        super().__init__(_new_reactor(), None)
        measure_by_ticks(self.reactor)
        # Twisted's threads look up names: the interpreter's end waits for all that are no daemons.
        self.reactor.getThreadPool().threadFactory = _daemon
        self.users = 0
        before = threadable.ioThread
        self.reactor.callWhenRunning(setattr, threadable, "ioThread", before)
        self._thread = threading.Thread(target=self._run, name="burrow", daemon=True)
        self._thread.start()
        self.thread = self._thread.ident

    def _run(self) -> None:
        reactor = self.reactor
        reactor.run(installSignalHandlers=False)
        for reader in list(reactor._internalReaders):
            reader.connectionLost(Failure(ConnectionResetError()))
        poller: Any = getattr(reactor, "_poller", None)
        if hasattr(poller, "close"):
            poller.close()

    def release(self) -> None:
        """A tunnel has ended. The last one ends the thread."""
        global _own
        with _lock:
            self.users -= 1
            if self.users:
                return
            self.running = False
            if _own is self:
                _own = None
        self.reactor.callFromThread(self.reactor.stop)

    def join(self) -> None:
        """Wait until the thread has ended, if it is about to."""
        if not self.here and not self.users:
            self._thread.join(JOIN_WITHIN)


_lock = threading.Lock()
_own: OwnThread | None = None


def take() -> Home:
    """The home of one more tunnel."""
    global _own
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    if reactor is not None and reactor.running:
        return Home(reactor, threadable.ioThread)
    with _lock:
        if _own is None:
            _own = OwnThread()
        _own.users += 1
        return _own


def _forked() -> None:
    """In the child: the thread is the parent's, and so is whoever held the lock."""
    global _own, _lock
    _own, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _daemon(*arguments: Any, **named: Any) -> threading.Thread:
    return threading.Thread(*arguments, **named, daemon=True)


def _new_reactor() -> Any:
    """A reactor that is not installed."""
    if sys.platform.startswith("linux"):
        from burrow.reactor.epoll import BurrowReactor

        return BurrowReactor()
    from twisted.internet.selectreactor import SelectReactor

    return SelectReactor()
