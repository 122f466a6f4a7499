"""The requests that the agent's screen knows: the newest ones, and sums of all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice

from burrow.traffic.filter import Filter
from burrow.traffic.hub import Listener
from burrow.traffic.record import Record

KEPT = 1000
"""Requests that are remembered, at most."""

MAX_TARGET = 2048
"""Characters of a target that are remembered, at most: no terminal shows more."""


class Row:
    """
    What is shown of a record. It has all that a L{Subject<burrow.traffic.filter.Subject>} has.

    It holds the record only while that grows: a record keeps whole heads, which visitors decide.

    @ivar number: counts all rows from 1 on.
    """

    __slots__ = (
        "_record",
        "began",
        "error",
        "host",
        "method",
        "number",
        "protocol",
        "received",
        "sent",
        "status",
        "target",
        "took",
        "tunnel",
        "visitor",
    )

    def __init__(self, record: Record, number: int) -> None:
        self._record: Record | None = record
        self.number = number
        self.began = record.began
        self.method = record.method
        self.target = record.target[:MAX_TARGET]
        self.host = record.host
        self.tunnel = record.tunnel
        self.visitor = record.visitor
        self.took: float | None = None
        self.look()

    def look(self) -> None:
        """Take what changes from the record."""
        record = self._record
        if record is not None:
            self.protocol = record.protocol  # a request may become a WebSocket
            self.status = record.status
            self.received = record.received
            self.sent = record.sent
            self.took = record.took
            self.error = record.error
            if record.took is not None:
                self._record = None

    @property
    def age(self) -> float:
        """Seconds that it took, or has taken so far."""
        if self.took is not None:
            return self.took
        return self._record.age if self._record is not None else 0.0


class Requests(Listener):
    """
    Listens to an agent's traffic.

    @param changed: called at each change; it has to be quick.
    @ivar count: all requests and connections so far. @ivar failed: those without a whole answer, or with 5xx.
    @ivar received: bytes of those that are over. @ivar sent: likewise.
    @ivar on_error: called with the tunnel's name when one ended with an error.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._rows: deque[Row] = deque(maxlen=KEPT)
        self._open: dict[str, Row] = {}
        self._frozen: list[Row] | None = None
        self._frozen_at = 0
        self.count = 0
        self.failed = 0
        self._received = 0
        self._sent = 0
        self.on_error: Callable[[str], None] = lambda tunnel: None

    # -- what is told ---------------------------------------------------------------------------------------

    def begun(self, record: Record) -> None:
        """See L{Listener.begun}."""
        self.count += 1
        row = self._open[record.id] = Row(record, self.count)
        self._rows.append(row)
        self._changed()

    def answered(self, record: Record) -> None:
        """See L{Listener.answered}."""
        self._changed()

    def ended(self, record: Record) -> None:
        """See L{Listener.ended}."""
        row = self._open.pop(record.id, None)
        if row is None:
            return
        row.look()
        self._received += record.received
        self._sent += record.sent
        if record.error or (record.status or 0) >= 500:
            self.failed += 1
            self.on_error(record.tunnel)
        self._changed()

    # -- what is asked --------------------------------------------------------------------------------------

    @property
    def under_way(self) -> int:
        """How many are not over."""
        return len(self._open)

    @property
    def received(self) -> int:
        """Bytes from visitors so far."""
        return self._received + sum(row._record.received for row in self._growing() if row._record)

    @property
    def sent(self) -> int:
        """Bytes to visitors so far."""
        return self._sent + sum(row._record.sent for row in self._growing() if row._record)

    def _growing(self) -> list[Row]:
        return list(islice(self._open.values(), KEPT))

    def freeze(self) -> None:
        """Let the list stand still; what is in it still changes."""
        if self._frozen is None:
            self._frozen = list(self._rows)
            self._frozen_at = self.count

    def thaw(self) -> None:
        """Let it go on."""
        self._frozen = None

    @property
    def frozen(self) -> bool:
        """Whether it stands still."""
        return self._frozen is not None

    @property
    def hidden(self) -> int:
        """How many came since it stands still."""
        return self.count - self._frozen_at if self._frozen is not None else 0

    def newest(self, wanted: Filter, first: int, count: int) -> list[Row]:
        """
        The rows that match, the newest first, as they are now.

        @param first: how many to leave out. @param count: how many at most.
        """
        found: list[Row] = []
        for row in reversed(self._rows if self._frozen is None else self._frozen):
            if len(found) == first + count:
                break
            row.look()
            if wanted.matches(row):
                found.append(row)
        return found[first:]

    def matching(self, wanted: Filter) -> int:
        """How many match."""
        rows = self._rows if self._frozen is None else self._frozen
        return sum(wanted.matches(row) for row in rows) if wanted else len(rows)
