"""
X-Request-Id: one value that the upstream gets and the visitor is shown, so that one request is found in the
logs of both. No I/O.
"""

from __future__ import annotations

import re
from itertools import count
from secrets import randbits

REQUEST_ID = b"X-Request-Id"

_SANE = re.compile(rb"[A-Za-z0-9._~+/=:@-]{1,128}")


class RequestIds:
    """
    Makes ids of 16 hexadecimal digits: numbers that begin where chance has them begin. They are no secrets.

    @param first: the first number, if it is not chosen by chance.
    """

    def __init__(self, first: int | None = None) -> None:
        # The upper bit is left alone: nobody counts up to it.
        self._numbers = count(randbits(63) if first is None else first)

    def new(self) -> bytes:
        """An id that this process has not made before."""
        return b"%016x" % next(self._numbers)


def sane(values: list[bytes]) -> bytes:
    """
    The id that a request came with, if it is one that logs can show: one field of 1 to 128 letters, digits
    and C{._~+/=:@-}. @return: empty if it is not.
    """
    return values[0] if len(values) == 1 and _SANE.fullmatch(values[0]) else b""
