"""A URL for tests of what others call: webhooks are kept, and answered as the test says."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

MAX_BODY = 16 * 1024 * 1024
"""Bytes of a webhook's body that are kept, at most; a larger one is answered with 413."""


@dataclass(frozen=True)
class Webhook:
    """
    One request that came.

    @ivar path: without the query. @ivar headers: by name in lower case; of a name that came twice the last.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """What the body says. @raise ValueError: it is no JSON."""
        return json.loads(self.body)

    def replay(self, url: str) -> int:
        """
        Send it again, to another URL: its path and query are put behind. @return: the answer's status.

        @raise OSError: nothing answers there.
        """
        query = f"?{self.query}" if self.query else ""
        left_out = ("host", "content-length", "connection", "transfer-encoding")
        fields = {name: value for name, value in self.headers.items() if name not in left_out}
        request = Request(url.rstrip("/") + self.path + query, self.body or None, fields, method=self.method)
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=30) as answer:
                return int(answer.status)
        except OSError as error:
            if (status := getattr(error, "code", None)) is not None:
                return int(status)
            raise


class Webhooks:
    """
    @ivar url: where they are to be sent, without a slash at its end.
    @ivar received: those that came, in order.
    @ivar answer: what is answered: status, body, and perhaps header fields; or a function that makes that of
        a L{Webhook}.
    """

    url: str

    def __init__(self) -> None:
        self.received: list[Webhook] = []
        self.answer: tuple[Any, ...] | Callable[[Webhook], tuple[Any, ...]] = (200, b"")
        self._came = threading.Condition()

    @classmethod
    @contextlib.contextmanager
    def open(cls) -> Iterator[Webhooks]:
        """
        Take webhooks until the end: through a tunnel if BURROW_SERVER is set, else on the loopback.

        @raise BurrowError: the tunnel cannot be opened.
        """
        webhooks = cls()
        where = _public if os.environ.get("BURROW_SERVER") else _local
        with where(webhooks._app) as webhooks.url:
            yield webhooks

    def wait(self, count: int = 1, timeout: float = 10.0) -> list[Webhook]:
        """
        Wait until so many have come.

        @param timeout: seconds. @return: all that came. @raise TimeoutError: fewer came in time.
        """
        ends = time.monotonic() + timeout
        with self._came:
            while len(self.received) < count:
                if not self._came.wait(ends - time.monotonic()) and len(self.received) < count:
                    raise TimeoutError(
                        f"{len(self.received)} of {count} webhooks came to {self.url} within {timeout:g} s"
                    )
            return list(self.received)

    def _app(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """WSGI (PEP 3333)."""
        size = int(environ.get("CONTENT_LENGTH") or 0)
        if size > MAX_BODY:
            start_response("413 Content Too Large", [("Content-Length", "0")])
            return [b""]
        webhook = Webhook(
            environ["REQUEST_METHOD"],
            environ.get("PATH_INFO", "") or "/",
            environ.get("QUERY_STRING", ""),
            _headers(environ),
            environ["wsgi.input"].read(size),
        )
        with self._came:
            self.received.append(webhook)
            self._came.notify_all()
        status, body, *fields = self.answer(webhook) if callable(self.answer) else self.answer
        data = body.encode() if isinstance(body, str) else body
        headers = [(name, str(value)) for name, value in dict(*fields).items()]
        start_response(f"{status} Answered", [*headers, ("Content-Length", str(len(data)))])
        return [data]


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    names = {"CONTENT_TYPE": "content-type", "CONTENT_LENGTH": "content-length"}
    names |= {key: key[5:].replace("_", "-").lower() for key in environ if key.startswith("HTTP_")}
    return {name: str(environ[key]) for key, name in names.items() if environ.get(key)}


@contextlib.contextmanager
def _public(app: Any) -> Iterator[str]:
    from burrow.program.serving import serving

    with serving(app) as tunnel:
        yield tunnel.url


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the test looks at what came."""


@contextlib.contextmanager
def _local(app: Any) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, _Server, _Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="webhooks", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
