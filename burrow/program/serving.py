"""C{burrow.serve}: an ASGI or WSGI app behind a tunnel, without any port on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThreadPool

from burrow.client.settings import credentials_of
from burrow.client.tunnels import TunnelRequest, tunnel_request
from burrow.clock import cancel
from burrow.errors import BurrowError, ConfigError
from burrow.mux.control import VisitorHead
from burrow.mux.pipe import PipeEnd
from burrow.program.api import SETTINGS, settings
from burrow.program.asgi import AsgiApp
from burrow.program.stream import AppStream, Handle
from burrow.program.tunnel import Opening, Plan, Tunnel
from burrow.program.wsgi import WsgiApp
from burrow.protocols.base import AgentTunnel
from burrow.protocols.elsewhere import who_has
from burrow.protocols.http import HttpProtocol
from burrow.wording import did_you_mean

END_WITHIN = 35.0
"""Seconds that an app's end may take."""


class AppUpstream:
    """
    The upstream of a served app: describes it, and connects to it without a port, to send requests again.

    @param handle: see L{Handle}.
    """

    def __init__(self, name: str, handle: Handle) -> None:
        self._name = name
        self.handle = handle

    def __str__(self) -> str:
        return self._name

    @property
    def again(self) -> AppUpstream:
        """See L{burrow.program.tunnel}."""
        return self

    def connector(self, reactor: Any) -> AppConnector:
        """What L{Replayer<burrow.client.inspect.replay.Replayer>} connects by."""
        return AppConnector(reactor, self.handle)


class AppConnector:
    """Connects to an app by a pair of sockets that are in nobody else's reach."""

    def __init__(self, reactor: Any, handle: Handle) -> None:
        self._reactor = reactor
        self._handle = handle

    def connect_now(self) -> PipeEnd:
        """A connection."""
        near, far = socket.socketpair()
        stream = AppStream(self._reactor, self._handle, "127.0.0.1:0", "https")
        with near, far:
            end: PipeEnd = self._adopt(near, PipeEnd())
            self._adopt(far, stream)
        return end

    def _adopt(self, one: socket.socket, protocol: Any) -> Any:
        one.setblocking(False)
        factory = Factory.forProtocol(lambda: protocol)
        factory.noisy = False
        self._reactor.adoptStreamConnection(one.fileno(), one.family, factory)
        return protocol


class AppKind(HttpProtocol):
    """The kind "http", whose streams go to an app in this process."""

    options = ()

    def agent_protocol(self, tunnel: AgentTunnel, head: VisitorHead) -> IProtocol:
        """See L{HttpProtocol}."""
        return AppStream(tunnel.reactor, tunnel.upstream.handle, head.visitor, head.scheme)


def interface_of(app: Any, given: str | None = None) -> str:
    """ "asgi" or "wsgi". @raise ConfigError: it is neither."""
    if given not in (None, "asgi", "wsgi"):
        raise ConfigError(f'interface={given!r} is not possible: write "asgi" or "wsgi"')
    if not callable(app):
        raise ConfigError(f"{app!r} is no app: give an ASGI or a WSGI callable")
    if given is not None:
        return given
    while isinstance(app, functools.partial):
        app = app.func
    called = app if inspect.isroutine(app) or inspect.isclass(app) else type(app).__call__
    return "asgi" if inspect.iscoroutinefunction(called) else "wsgi"


def name_of(app: Any) -> str:
    """How the server and people see it, as in C{app:flask.app.Flask}."""
    kind = app if inspect.isroutine(app) or inspect.isclass(app) else type(app)
    return f"app:{kind.__module__}.{kind.__qualname__}"[:200]


class OwnLoop:
    """An event loop in a daemon thread, for an ASGI app of a program that runs none."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="burrow-asgi", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
        finally:
            self.loop.close()

    def stop(self) -> None:
        """End it."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)


class Serving:
    """
    An app, ready to be served. @param loop: the program's, which runs an ASGI app; None for one of ours.

    @ivar plan: opens its tunnel.
    """

    def __init__(
        self,
        app: Any,
        name: str | None,
        interface: str | None,
        options: dict[str, Any],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._asgi: AsgiApp | None = None
        self._wsgi: WsgiApp | None = None
        self._own: OwnLoop | None = None
        self._loop = loop
        is_asgi = interface_of(app, interface) == "asgi"
        config, given = settings(options)
        # What is refused is refused before the app is started.
        credentials_of(config, os.environ)
        name = tunnel_request("http", "1", name, {}).name
        kind = AppKind()
        if given:
            key = next(iter(given))
            word = key.replace("-", "_")
            instead = "leave it out"
            if guess := did_you_mean(word, [*SETTINGS, "name", "interface"]):
                instead = guess.removeprefix("; ")
            if "http" in who_has(key):
                instead = f"start its own server, and write burrow.forward(PORT, {word}=...)"
            raise ConfigError(f"a served app has no option {word}: {instead}")
        handle: Handle
        if is_asgi:
            if loop is None:
                self._own = OwnLoop()
                self._loop = self._own.loop
            assert self._loop is not None
            self._asgi = AsgiApp(app, self._loop)
            handle = self._asgi.handle
        else:
            self._wsgi = WsgiApp(app)
            handle = self._wsgi.handle
        request = TunnelRequest(kind, AppUpstream(name_of(app), handle), name)
        self.plan = Plan(config, request, self.finish, self._loop)

    def open(self) -> Tunnel:
        """
        Start the app, and open its tunnel. What fails, or is interrupted, ends the app.

        @raise AppFailed: it cannot be started. @raise BurrowError: the tunnel cannot be opened.
        """
        try:
            if self._asgi is not None and self._loop is not None:
                asyncio.run_coroutine_threadsafe(self._asgi.lifespan.startup(), self._loop).result()
            return self.plan.open()
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """End the app, unless the tunnel's end has done so."""
        if self._asgi is not None and self._own is not None:
            try:
                with contextlib.suppress(Exception):  # it has failed, or takes too long: what is told is why
                    asyncio.run_coroutine_threadsafe(self._asgi.stop(), self._own.loop).result(END_WITHIN)
            finally:
                self._end()

    async def astart(self) -> None:
        """The same as L{open} on the program's loop, but for the tunnel."""
        if self._asgi is not None:
            await self._asgi.lifespan.startup()

    async def aopen(self) -> Tunnel:
        """Open the tunnel. What fails, or is cancelled, ends the app. @raise BurrowError: see L{open}."""
        try:
            return await self.plan.aopen()
        except GeneratorExit:  # nothing more may be awaited
            raise
        except BaseException:
            if self._asgi is not None:
                await self._asgi.stop(now=True)
            raise

    async def finish(self, reactor: Any, now: bool) -> None:
        """End the app. Runs on the reactor's thread, whose tunnel has ended. C{now}: see L{AsgiApp.stop}."""
        threads = reactor.getThreadPool()
        if self._wsgi is not None and not now:
            await deferToThreadPool(reactor, threads, self._wsgi.wait_ended)
        if self._asgi is None or self._loop is None:
            return
        work = self._asgi.stop(now)
        try:
            stopping: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the program's loop is closed: an C{asyncio.run} that ended has cancelled all
            work.close()
            return
        done: Deferred[None] = Deferred()
        stopping.add_done_callback(lambda _: reactor.callFromThread(_fire, done))
        timer = reactor.callLater(END_WITHIN, _fire, done)
        await done
        cancel(timer)
        if self._own is not None:
            # Not here, where other tunnels are served: it waits for threads that the app has begun.
            await deferToThreadPool(reactor, threads, self._end)

    def _end(self) -> None:
        own, self._own = self._own, None
        if own is not None:
            own.stop()


def _fire(done: Deferred[None]) -> None:
    if not done.called:
        done.callback(None)


def serving(app: Any, *, name: str | None = None, interface: str | None = None, **options: Any) -> Tunnel:
    """
    Serve an app as long as the tunnel is open::

        with burrow.serving(app, name="demo") as tunnel:
            print(tunnel.url)

    An ASGI app runs on an event loop in a thread of its own; of a WSGI app each request has a thread, 40 at
    most.

    @param app: an ASGI 3 or a WSGI callable. @param interface: "asgi" or "wsgi", if it cannot be seen.
    @param name, options: see L{forward<burrow.program.api.forward>}.
    @raise BurrowError: the tunnel cannot be opened, or the app not be started.
    """
    return Serving(app, name, interface, options).open()


def aserve(app: Any, *, name: str | None = None, interface: str | None = None, **options: Any) -> Opening:
    """
    The same for coroutines of asyncio, whose loop runs an ASGI app::

        async with burrow.aserve(app) as tunnel: ...
    """

    async def work() -> Tunnel:
        one = Serving(app, name, interface, options, asyncio.get_running_loop())
        await one.astart()
        return await one.aopen()

    return Opening(work)


def _in_coroutine() -> bool:
    """
    Whether a loop runs here that has something else to do. A notebook's runs, too, but a cell that takes its
    time is as usual there.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    ipython: Any = sys.modules.get("IPython")
    return ipython is None or ipython.get_ipython() is None


def serve(
    app: Any,
    *,
    name: str | None = None,
    interface: str | None = None,
    ready: Callable[[Tunnel], object] | None = None,
    **options: Any,
) -> None:
    """
    Serve an app until Ctrl-C, or until the server refuses it: the last line of a script. In a notebook its
    cell runs until it is interrupted.

    @param ready: called with the tunnel when it is open; None to print its URL to standard error.
    @raise BurrowError: see L{serving}; or this is a thread whose event loop would stand still.
    """
    if _in_coroutine():
        raise BurrowError(
            "this would stop the loop that runs here: write `async with burrow.aserve(app) as tunnel:`"
        )
    # Ctrl-C is the end wherever it comes: while the tunnel opens, and in C{ready}, too. A second one waits
    # for nothing: an app may not end.
    with contextlib.suppress(KeyboardInterrupt):
        tunnel = serving(app, name=name, interface=interface, **options)
        try:
            if ready is None:
                print(
                    f"burrow: {tunnel.url} is {name_of(app)[4:]}; Ctrl-C ends it", file=sys.stderr, flush=True
                )
            else:
                ready(tunnel)
            tunnel.wait_closed()
        finally:
            tunnel.close(now=sys.exc_info()[0] is not None)
