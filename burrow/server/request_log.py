"""
The log's lines about requests: one each, when it ends, for C{--log-format}.

Lines are gathered for L{EVERY} seconds and then logged together, as one event of twisted.logger whose
C{lines} they are: an event each would cost a request 20 us. A line costs some 5.
"""

from __future__ import annotations

import re
import time
from json.encoder import encode_basestring_ascii as quoted
from typing import Any
from urllib.parse import unquote

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from burrow.clock import cancel
from burrow.shown import escaped
from burrow.traffic.hub import Listener
from burrow.traffic.record import Record
from burrow.wording import iso

EVERY = 0.1
"""Seconds from a request's end until its line is logged, at most."""

MAX_LINES = 20_000
"""Lines that wait, at most; of more, their number is logged."""

_SECRET = re.compile(
    r"token|key|secret|passw|pwd|code|sig|auth|session|jwt|credential|assertion", re.IGNORECASE
)
_SEPARATOR = re.compile(r"([&;])")
_MASK = "***"


def without_secrets(target: str) -> str:
    """A target whose query's values are masked where their names say that they are secrets."""
    path, mark, query = target.partition("?")
    if not mark:
        return target
    return path + mark + "".join(map(_masked, _SEPARATOR.split(query)))


def _masked(part: str) -> str:
    name, equals, _ = part.partition("=")
    return f"{name}={_MASK}" if equals and _SECRET.search(unquote(name)) else part


class RequestLog(Listener):
    """
    @param form: "human" or "json".
    """

    log = Logger()

    def __init__(self, clock: Any, form: str) -> None:
        self._clock = clock
        self._line = json_line if form == "json" else human_line
        self._lines: list[str] = []
        self._dropped = 0
        self._flushing: IDelayedCall | None = None

    def ended(self, record: Record) -> None:
        """See L{Listener}."""
        if len(self._lines) >= MAX_LINES:
            self._dropped += 1
            return
        self._lines.append(self._line(record))
        if self._flushing is None:
            self._flushing = self._clock.callLater(EVERY, self.flush)

    def flush(self) -> None:
        """Log what waits."""
        cancel(self._flushing)
        self._flushing = None
        lines, self._lines = self._lines, []
        if lines:
            self.log.info("{text}", text="\n".join(lines), lines=lines)
        if self._dropped:
            self.log.warn("{count} requests are not in the log: too many ended at once", count=self._dropped)
            self._dropped = 0


def _ms(seconds: float | None) -> str:
    return "null" if seconds is None else f"{seconds * 1000:.1f}"


def _user_agent(record: Record) -> str:
    for name, value in record.request_headers:
        if len(name) == 10 and name.lower() == b"user-agent":
            return value.decode("latin-1")
    return ""


def json_line(record: Record) -> str:
    """One JSON object: see docs/monitoring.md for its keys."""
    took = record.took or 0.0
    return (
        f'{{"time": "{iso(record.began + took)}", "level": "info", "event": "request", '
        f'"tunnel": {quoted(record.tunnel)}, "protocol": "{record.protocol}", '
        f'"visitor": {quoted(record.visitor)}, "host": {quoted(record.host)}, '
        f'"method": {quoted(record.method)}, "path": {quoted(without_secrets(record.target))}, '
        f'"status": {"null" if record.status is None else record.status}, "ms": {_ms(took)}, '
        f'"first_byte_ms": {_ms(record.first_byte)}, "received": {record.received}, "sent": {record.sent}, '
        f'"request_id": {quoted(record.request_id)}, "user_agent": {quoted(_user_agent(record))}, '
        f'"error": {quoted(record.error)}}}'
    )


def human_line(record: Record) -> str:
    """Time, visitor, what was asked, status, time, bytes both ways, the request's id; and what went wrong."""
    took = record.took or 0.0
    what = record.protocol
    if record.method:
        what = f"{record.method} {record.host}{without_secrets(record.target)}"
    status = "-" if record.status is None else record.status
    ended = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.began + took))
    line = (
        f"{ended} info  {record.visitor} {what} {status} {_ms(took)} ms "
        f"{record.received}/{record.sent} B {record.tunnel or '-'}"
    )
    if record.request_id:
        line += f" {record.request_id}"
    if record.error:
        line += f" ({record.error})"
    return escaped(line)
