"""ASGI apps (ASGI 3: HTTP, WebSocket and lifespan), on one event loop."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from burrow.errors import BurrowError
from burrow.program.answer import Answer, BadAnswer, phrase
from burrow.program.exchange import Exchange
from burrow.program.scopes import Changes, Event, scope_of
from burrow.program.websocket import WebSocketExchange
from burrow.program.wsgi import ENDS_WITHIN, tell_failed

_log = logging.getLogger("burrow.serve")

ENDS_NOW_WITHIN = 0.3
"""Seconds in the place of L{ENDS_WITHIN} where an end is not to wait for requests."""

CANCEL_WITHIN = 1.0
"""Seconds that requests may take to end once they are cancelled."""

LIFESPAN_WITHIN = 30.0
"""Seconds that an app may take to start, and as many to end."""


class AppFailed(BurrowError):
    """The app could not be started; the text says why."""


class AsgiApp:
    """@param app: the callable. @param loop: runs it."""

    def __init__(self, app: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()
        self.lifespan = Lifespan(app)

    def handle(self, exchange: Exchange) -> None:
        """See L{Handle<burrow.program.stream.Handle>}."""
        try:
            self._loop.call_soon_threadsafe(self._begin, exchange)
        except RuntimeError:  # the loop is closed
            exchange.break_off()

    def _begin(self, exchange: Exchange) -> None:
        task = self._loop.create_task(self._run(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, exchange: Exchange) -> None:
        upgraded = bool(exchange.head.upgrade)
        kind = WebSocketExchange if upgraded else HttpExchange
        serving = kind(exchange, Changes(self._loop, exchange))
        try:
            if not serving.possible():
                return
            scope = {**serving.scope(), "state": dict(self.lifespan.state)}
            await self._app(scope, serving.receive, serving.send)
            if not serving.complete and not exchange.gone:
                if not exchange.left:  # else the app knew that nobody waits
                    _log.error("the app answered %s %s not at all, or not wholly", *_named(exchange))
                serving.failed()
        except asyncio.CancelledError:
            exchange.break_off()
            raise
        except Exception:
            if not exchange.gone:
                _log.exception("the app failed at %s %s", *_named(exchange))
                serving.failed()
        finally:
            serving.over()

    async def stop(self, now: bool = False) -> None:
        """
        End what runs, and the app. Visitors have left by now, or have their answers whole: for L{ENDS_WITHIN}
        seconds what runs may end by itself, since an app may work behind its answer (Starlette's background
        tasks), and one that is cancelled while it learns of the disconnect logs an error (Django).

        @param now: only for L{ENDS_NOW_WITHIN}: somebody waits.
        """
        await self._wait_ended(ENDS_NOW_WITHIN if now else ENDS_WITHIN)
        for task in list(self._tasks):
            task.cancel()
        await self._wait_ended(CANCEL_WITHIN)
        if self._tasks:
            _log.error("%d requests go on, though the app was told to end them", len(self._tasks))
        await self.lifespan.shutdown()

    async def _wait_ended(self, within: float) -> None:
        """Wait until no request runs, so many seconds at most."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=within)


def _named(exchange: Exchange) -> tuple[str, str]:
    return exchange.head.method.decode("latin-1"), exchange.head.target.decode("latin-1")


class HttpExchange:
    """One HTTP request. @ivar complete: whether the answer is whole."""

    def __init__(self, exchange: Exchange, changes: Changes) -> None:
        self._exchange = exchange
        self._changes = changes
        self._answer = Answer(exchange.head)
        self._asked_all = False
        self.complete = False

    def possible(self) -> bool:
        """Whether the app is to be asked."""
        return True

    def scope(self) -> Event:
        """What the app is called with."""
        head = self._exchange.head
        return {**scope_of(self._exchange, "http", self._exchange.scheme), "method": head.method.decode()}

    async def receive(self) -> Event:
        """More of the request; or that the visitor has left, or was answered."""
        exchange = self._exchange
        if not self._asked_all:
            await self._changes.until(lambda: not exchange.empty or exchange.whole or self.complete)
            whole = exchange.whole
            data = exchange.take()
            if (data or whole) and not self.complete:
                self._asked_all = whole and exchange.empty
                return {"type": "http.request", "body": data, "more_body": not self._asked_all}
        await self._changes.until(lambda: self.complete or exchange.left)
        return {"type": "http.disconnect"}

    async def send(self, event: Event) -> None:
        """More of the answer. @raise OSError: the visitor has left."""
        exchange, answer = self._exchange, self._answer
        if exchange.gone:
            raise OSError("the visitor has left")
        if event["type"] == "http.response.start":
            if answer.begun:
                raise BadAnswer("http.response.start was sent twice")
            answer.start(event["status"], phrase(event["status"]), event.get("headers", ()))
        elif event["type"] == "http.response.body":
            if self.complete:
                raise BadAnswer("a body was sent behind the last one")
            more = event.get("more_body", False)
            data = answer.body(event.get("body", b""), more=more)
            self.complete = not more
            exchange.send(data, last=not more)
            if self.complete:
                self._changes._wake()
            elif exchange.full:
                await self._changes.until(lambda: not exchange.full)
        else:
            raise BadAnswer(f"{event['type']} is not possible here")

    def failed(self) -> None:
        """Tell the visitor that the app failed."""
        tell_failed(self._exchange, self._answer.sent)
        self.complete = True

    def over(self) -> None:
        """The app has returned."""


class Lifespan:
    """
    The app's start and end (ASGI lifespan 2.0). An app that knows none of it has none.

    @ivar state: what the app keeps for its requests.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self.state: Event = {}
        self._task: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._answer: asyncio.Future[Event | None] | None = None
        self._asking = asyncio.Lock()  # one thing at a time

    async def startup(self) -> None:
        """Start it. @raise AppFailed: it says that it cannot."""
        async with self._asking:
            self._task = asyncio.get_running_loop().create_task(self._run())
            try:
                answer = await self._ask(self._task, "startup")
                if answer is not None and answer["type"] == "lifespan.startup.failed":
                    why = answer.get("message") or "it does not say why"
                    raise AppFailed(f"the app could not be started: {why}")
            except BaseException:  # an app that has not started gets no shutdown: it is cancelled
                task, self._task = self._task, None
                task.cancel()
                raise

    async def shutdown(self) -> None:
        """End it, if it has started; while it starts, once it has. What goes wrong is logged."""
        async with self._asking:
            task, self._task = self._task, None
            if task is None:
                return
            try:
                if not task.done():
                    answer = await self._ask(task, "shutdown")
                    if answer is not None and answer["type"] == "lifespan.shutdown.failed":
                        _log.error("the app's end failed: %s", answer.get("message", ""))
            finally:
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _ask(self, task: asyncio.Task[None], what: str) -> Event | None:
        """What the app answers; None if it does not, having ended. @raise AppFailed: it takes too long."""
        self._answer = asyncio.get_running_loop().create_future()
        self._events.put_nowait({"type": f"lifespan.{what}"})
        waited: set[asyncio.Future[Any]] = {task, self._answer}
        await asyncio.wait(waited, timeout=LIFESPAN_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        answer, self._answer = self._answer, None
        if not answer.done() and not task.done():
            raise AppFailed(f"the app's {what} took longer than {LIFESPAN_WITHIN:.0f} seconds")
        return answer.result() if answer.done() else None

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._events.get, self._send)
        except Exception as error:
            if self._answer is None:
                _log.info("the app's lifespan failed", exc_info=True)
            else:
                _log.info("the app has no lifespan: %r", error)

    async def _send(self, event: Event) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(event)
