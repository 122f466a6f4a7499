"""The inspector's records as data: what passed through a program's tunnel, and the same once more."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from burrow.client.inspect.captured import Captured
from burrow.client.inspect.decoding import decode
from burrow.client.inspect.describe import detail, public_url
from burrow.client.inspect.problem import Problem
from burrow.client.inspect.replay import Replayer
from burrow.client.inspect.store import Store
from burrow.errors import ConfigError
from burrow.program.home import Home
from burrow.traffic.record import Fields

if TYPE_CHECKING:
    from burrow.traffic.record import Record


class Recorder:
    """What one tunnel keeps. @param replayer: sends requests again."""

    def __init__(self, home: Home, store: Store, replayer: Replayer) -> None:
        self.home = home
        self.store = store
        self.replayer = replayer

    def all(self) -> list[Request]:
        """All that is kept, oldest first."""
        return self.home.call(lambda: [Request(self, each) for each in self.store.newest_first()])[::-1]

    def replay(self, captured: Captured, changes: dict[str, Any]) -> Future[Request]:
        """Send a request again."""

        async def work() -> Request:
            try:
                record, done = self.replayer.replay(captured, changes, elsewhere=True)
            except Problem as problem:
                raise ConfigError(str(problem)) from None
            await done
            again = self.store.get(record.id)
            return Request(self, again or Captured(record, captured.record.id))

        return self.home.submit(work)


class Request:
    """
    One request and its answer, or one connection of a tunnel that is not HTTP's. It grows until C{ended}.

    Header fields are pairs of texts in their order, secrets included. Bodies are decoded (gzip and so on), as
    much of them as is kept: 1 MiB.
    """

    def __init__(self, recorder: Recorder, captured: Captured) -> None:
        self._recorder = recorder
        self._captured = captured

    def __repr__(self) -> str:
        record = self._record
        what = f"{record.method} {record.target}" if record.method else record.protocol
        return f"<burrow.Request {record.id} {what} {record.status or ''}>"

    @property
    def _record(self) -> Record:
        return self._captured.record

    @property
    def id(self) -> str:
        """The number by which the inspector knows it."""
        return self._record.id

    @property
    def method(self) -> str:
        """GET, POST...; empty if this is no HTTP request."""
        return self._record.method

    @property
    def path(self) -> str:
        """The target: path and query."""
        return self._record.target

    @property
    def url(self) -> str:
        """What the visitor asked for."""
        return public_url(self._record)

    @property
    def visitor(self) -> str:
        """The visitor's address, C{host:port}."""
        return self._record.visitor

    @property
    def status(self) -> int | None:
        """Of the answer; None while there is none."""
        return self._record.status

    @property
    def error(self) -> str:
        """Why it failed; empty if it did not."""
        return self._record.error

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self._record.ended

    @property
    def took(self) -> float | None:
        """Seconds from its beginning to its end; None before."""
        return self._record.took

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The request's header fields."""
        return _texts(self._record.request_headers)

    @property
    def body(self) -> bytes:
        """The request's body."""
        return decode(bytes(self._captured.request.data), self._record.request_headers).data

    @property
    def response_headers(self) -> list[tuple[str, str]]:
        """The answer's header fields."""
        return _texts(self._record.response_headers)

    @property
    def response_body(self) -> bytes:
        """The answer's body."""
        return decode(bytes(self._captured.response.data), self._record.response_headers).data

    @property
    def data(self) -> dict[str, Any]:
        """All of it, as the inspector's API tells it (docs/inspector.md), secrets included."""
        return self._recorder.home.call(lambda: detail(self._captured, secrets=True))

    def replay(self, **changes: Any) -> Request:
        """
        Send it again, to the upstream and not through the tunnel, and wait for the answer.

        @param changes: what is to be another way, as in the inspector's API: C{method}, C{path}, C{headers},
            C{body}, C{port}...
        @return: the new request. @raise ConfigError: it is not possible; the text says why.
        """
        return self._recorder.home.wait(
            self._recorder.replay(self._captured, changes), "await request.areplay()"
        )

    async def areplay(self, **changes: Any) -> Request:
        """The same for a coroutine."""
        return await self._recorder.home.outcome(self._recorder.replay(self._captured, changes))


def _texts(fields: Fields) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
