"""WSGI apps (PEP 3333), each request in a thread of a pool."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from burrow.program.answer import Answer, BadAnswer
from burrow.program.exchange import LIMIT, Exchange
from burrow.program.scopes import server_of

MAX_THREADS = 40
"""Requests that run at the same time, at most; further ones wait, and are not read."""

ENDS_WITHIN = 3.0
"""Seconds that requests may take, when the tunnel has ended, to end by themselves."""

_log = logging.getLogger("burrow.serve")


class Threads:
    """A pool of daemon threads, each of which ends when nothing is left to do."""

    def __init__(self, most: int = MAX_THREADS) -> None:
        self._most = most
        self._count = 0
        self._waiting: deque[Callable[[], object]] = deque()
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)

    def run(self, work: Callable[[], object]) -> None:
        """Do it in a thread, when one is free."""
        with self._lock:
            self._waiting.append(work)
            if self._count >= self._most:
                return
            self._count += 1
        threading.Thread(target=self._work, name="burrow-wsgi", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._count -= 1
                    self._idle.notify_all()
                    return
                work = self._waiting.popleft()
            work()

    def wait_idle(self, timeout: float) -> None:
        """Block until nothing is left to do, or as many seconds have passed."""
        with self._idle:
            self._idle.wait_for(lambda: self._count == 0, timeout)


class WsgiApp:
    """@param app: the callable."""

    def __init__(self, app: Any, threads: int = MAX_THREADS) -> None:
        self._app = app
        self._threads = Threads(threads)

    def handle(self, exchange: Exchange) -> None:
        """See L{Handle<burrow.program.stream.Handle>}."""
        self._threads.run(lambda: self._run(exchange))

    def wait_ended(self) -> None:
        """
        Block until no request runs, for L{ENDS_WITHIN} seconds at most. Not for the reactor's thread.

        Visitors have left by now, or have their answers whole, behind which an app still closes what it has:
        threads that run when the program ends are broken off.
        """
        self._threads.wait_idle(ENDS_WITHIN)

    def _run(self, exchange: Exchange) -> None:
        if exchange.gone:
            return
        answering = _Answering(exchange)
        try:
            answering.run(self._app)
        except _Left:
            return
        except BaseException:
            _log.exception("the app failed at %s %s", exchange.head.method, exchange.head.target)
            answering.failed()


class _Left(OSError):
    """The visitor has left: raised into what an app writes to."""


class _Body(io.RawIOBase):
    """C{wsgi.input}."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        exchange = self._exchange
        exchange.wait(lambda: not exchange.empty or exchange.whole or exchange.answered)
        data = exchange.take(len(buffer))
        if not data and exchange.gone and not exchange.whole:
            raise _Left("the visitor left in the middle of the request")
        buffer[: len(data)] = data
        return len(data)


class _Answering:
    """One request's answer."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._answer = Answer(exchange.head)

    def run(self, app: Any) -> None:
        """@raise _Left: the visitor has left. Whatever else is raised is the app's."""
        result: Iterable[bytes] = app(environ(self._exchange), self._start)
        try:
            single = isinstance(result, (list, tuple)) and len(result) == 1
            if single:
                self._send(result[0], more=False)  # type: ignore[index]
                return
            for data in result:
                if data:
                    self._send(data, more=True)
            self._send(b"", more=False)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def _start(
        self, status: str, fields: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            if self._answer.sent:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self._answer.begun:
            raise BadAnswer("start_response was called twice")
        code, _, reason = status.partition(" ")
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        self._answer.start(int(code), reason, pairs)
        return lambda data: self._send(data, more=True)

    def _send(self, data: bytes, *, more: bool) -> None:
        exchange = self._exchange
        exchange.send(self._answer.body(data, more=more), last=not more)
        if exchange.gone:
            raise _Left("the visitor has left")
        if more and exchange.full:
            exchange.wait(lambda: not exchange.full)

    def failed(self) -> None:
        """Tell the visitor, if nothing was told yet."""
        tell_failed(self._exchange, self._answer.sent)


def tell_failed(exchange: Exchange, sent: bool) -> None:
    """An app failed: the status 500, or a reset if its head was sent."""
    if sent:
        exchange.break_off()
        return
    answer = Answer(exchange.head)
    answer.start(500, "Internal Server Error", [(b"Content-Type", b"text/plain; charset=utf-8")])
    exchange.send(answer.body(b"Internal Server Error\n", more=False), last=True)


def environ(exchange: Exchange) -> dict[str, Any]:
    """See PEP 3333. Fields with an underscore in their name are left out, which could pass for others."""
    head = exchange.head
    path, _, query = head.target.partition(b"?")
    host, port = server_of(exchange)
    found: dict[str, Any] = {
        "REQUEST_METHOD": head.method.decode("latin-1"),
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{head.version}",
        "REMOTE_ADDR": exchange.visitor[0],
        "REMOTE_PORT": str(exchange.visitor[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": exchange.scheme,
        "wsgi.input": io.BufferedReader(_Body(exchange), LIMIT),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, values in head.headers.items():
        if b"_" in name:
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        text = (b"; " if name == b"cookie" else b", ").join(values).decode("latin-1")
        if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            found[key] = text
        else:
            found[f"HTTP_{key}"] = text
    return found
