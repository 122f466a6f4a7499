"""Conditional and partial requests for a file in its present state (RFC 9110 sections 13, 14). No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from itertools import pairwise

from burrow.http.headers import Headers

MAX_RANGES = 16
"""Ranges of one request, at most: more than a reader of documents asks for. Beyond, all is sent."""

_TAG = re.compile(rb'\s*(?:,\s*)*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|$)')
_RANGE = re.compile(rb"(\d{1,19})-(\d{0,19})|-(\d{1,19})")


class Unsatisfiable(Exception):
    """No range that is asked for has a byte of the file: 416 (RFC 9110 section 15.5.17)."""


def _all(headers: Headers, name: bytes) -> bytes:
    return b", ".join(headers.get(name, ()))


def _seconds(value: bytes) -> int | None:
    """The time of an HTTP-date in seconds since the epoch; None for what is none (section 5.6.7)."""
    try:
        return int(parsedate_to_datetime(value.decode("ascii")).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None


@dataclass(frozen=True)
class Validators:
    """
    What tells one state of a file from another.

    @ivar modified: nanoseconds since the epoch. @ivar number: of its inode.
    """

    size: int
    modified: int
    number: int

    @property
    def tag(self) -> bytes:
        """
        The ETag. It is strong: whoever replaces or changes a file changes its time in nanoseconds, or its
        number.
        """
        return b'"%x-%x-%x"' % (self.modified, self.size, self.number)

    @property
    def seconds(self) -> int:
        """The time of Last-Modified."""
        return self.modified // 1_000_000_000

    @property
    def date(self) -> bytes:
        """The value of Last-Modified."""
        return formatdate(self.seconds, usegmt=True).encode()

    def condition(self, method: bytes, headers: Headers) -> int:
        """
        Evaluate the preconditions in the order of section 13.2.2.

        @return: the status to answer with: 412, 304, or 200 to go on.
        """
        if b"if-match" in headers:
            if not self._listed(_all(headers, b"if-match"), weak=False):
                return 412
        elif (until := _seconds(headers.value(b"if-unmodified-since"))) is not None and self.seconds > until:
            return 412
        if b"if-none-match" in headers:
            if self._listed(_all(headers, b"if-none-match"), weak=True):
                return 304
        elif (since := _seconds(headers.value(b"if-modified-since"))) is not None and self.seconds <= since:
            return 304
        return 200

    def _listed(self, value: bytes, weak: bool) -> bool:
        """Whether a list of entity tags, or a star, has ours (section 8.8.3.2)."""
        if value.strip() == b"*":
            return True
        position = 0
        while found := _TAG.match(value, position):
            tag = found[1].removeprefix(b"W/") if weak else found[1]
            if tag == self.tag:
                return True
            position = found.end()
        return False

    def ranges(self, headers: Headers, now: float) -> list[tuple[int, int]] | None:
        """
        The ranges to send.

        @param now: seconds since the epoch.
        @return: each as its first byte and its length; None for the whole file: where none is asked for,
            where If-Range names another state of the file, or where the ranges are not worth it.
        @raise Unsatisfiable: there is nothing to send.
        """
        value = _all(headers, b"range")
        if not value or not self._unchanged(headers.value(b"if-range").strip(), now):
            return None
        unit, _, given = value.partition(b"=")
        if unit.strip().lower() != b"bytes":
            return None
        specs = [spec.strip() for spec in given.split(b",", MAX_RANGES + 1) if spec.strip()]
        if not 0 < len(specs) <= MAX_RANGES:
            return None
        ranges = []
        for spec in specs:
            found = _RANGE.fullmatch(spec)
            if found is None:
                return None  # not valid: as if it were not there (section 14.2)
            first, last, suffix = found.groups()
            if suffix is not None:
                start = max(0, self.size - int(suffix))
                end = self.size if int(suffix) else 0
                if not self.size and int(suffix):
                    return None  # satisfied by an empty file, and a 206 has no words for it
            else:
                start, end = int(first), min(self.size, int(last) + 1 if last else self.size)
                if last and int(last) < start:
                    return None
            if start < end:
                ranges.append((start, end - start))
        if not ranges:
            raise Unsatisfiable
        ordered = sorted(ranges)
        if any(start + length > after for (start, length), (after, _) in pairwise(ordered)):
            return None  # overlapping ones ask for the same bytes again and again (section 14.2)
        return ranges

    def _unchanged(self, value: bytes, now: float) -> bool:
        """Whether the value of If-Range, if there is any, names this very state (section 13.1.5)."""
        if not value:
            return True
        if value.startswith((b'"', b"W/")):
            return value == self.tag
        # A time of one second is a strong validator once that second is over (section 8.8.2.2).
        return _seconds(value) == self.seconds and now - self.seconds > 1
