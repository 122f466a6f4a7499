"""One request and its answer, or one TCP connection, as it is told to those who listen. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

Fields = list[tuple[bytes, bytes]]
"""Names and values of header fields in order, the names as they are spelled."""

_numbers = count(1)


@dataclass(eq=False, slots=True)
class Record:
    """
    A request and its answer ("http"), a connection that switched to another protocol after a request
    ("websocket" or "upgraded"), or a connection to a TCP port ("tcp", or another kind's name).

    It is the same object from its beginning to its end: who keeps one sees it grow. All times but C{began}
    are seconds since C{began}, and None while they are not known.

    @ivar protocol: see above. @ivar tunnel: the tunnel's name; empty if the host is nobody's.
    @ivar visitor: the visitor's address, C{host:port}. @ivar scheme: the visitor's, "https" or "http".
    @ivar method: as in C{"GET"}, or a word of another kind's; may be empty. @ivar target: path and query, as
        the visitor sent them, or what another kind shows there.
    @ivar host: the host asked for, without the port.
    @ivar request_headers: as they came to whoever made the record: the edge, or the agent.
    @ivar response_headers: as the upstream sent them.
    @ivar request_size: bytes of the names and values in C{request_headers}, about; 0 if nobody counted them.
    @ivar response_size: likewise.
    @ivar request_id: the value of X-Request-Id that the upstream gets and the visitor is shown.
    @ivar status: the answer's, once its head has come; None before, and for what is not HTTP.
    @ivar received: bytes of body from the visitor so far, without their framing; for what is not HTTP, all
        bytes. @ivar sent: bytes to the visitor, likewise.
    @ivar waited: until the request had a stream to the agent; at the agent, until the upstream was connected.
    @ivar first_byte: until the answer's head had come. @ivar took: until it was over.
    @ivar error: why it ended without a whole answer, as a sentence without a full stop; empty if it did not.
    @ivar began: seconds since the epoch.
    @ivar id: unique in this process, and in the order of their beginning: a number in decimal digits.
    """

    protocol: str
    tunnel: str
    visitor: str
    scheme: str = ""
    method: str = ""
    target: str = ""
    host: str = ""
    request_headers: Fields = field(default_factory=list, repr=False)
    response_headers: Fields = field(default_factory=list, repr=False)
    request_size: int = 0
    response_size: int = 0
    request_id: str = ""
    status: int | None = None
    reason: str = ""
    received: int = 0
    sent: int = 0
    waited: float | None = None
    first_byte: float | None = None
    took: float | None = None
    error: str = ""
    began: float = field(default_factory=time.time)
    id: str = field(default_factory=lambda: str(next(_numbers)))
    _clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    _started: float = field(default=0.0, repr=False)

    def __post_init__(self) -> None:
        self._started = self._clock()

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def is_request(self) -> bool:
        """Whether it is an HTTP request, whatever followed its answer; and not another kind's."""
        return bool(self.method) and self.protocol in ("http", "websocket", "upgraded")

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.took is not None

    @property
    def age(self) -> float:
        """Seconds since its beginning; for one that is over, how long it took."""
        return self._clock() - self._started if self.took is None else self.took

    def now(self) -> float:
        """Seconds since its beginning, for C{waited}, C{first_byte} and C{took}."""
        return self._clock() - self._started


@dataclass(frozen=True, slots=True)
class Message:
    """
    A WebSocket message or control frame, or an event of a text/event-stream.

    @ivar kind: "text", "binary", "ping", "pong", "close" or "event".
    @ivar data: its payload, decompressed, cut at what the observer keeps. @ivar size: bytes of the whole.
    @ivar when: seconds since the epoch.
    """

    kind: str
    data: bytes
    size: int
    when: float = field(default_factory=time.time)
