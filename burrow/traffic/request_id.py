"""
X-Request-Id: one value that the upstream gets and the visitor is shown, so that one request is found in the
logs of both. No I/O.
"""

from __future__ import annotations

import re
from itertools import count
from secrets import token_hex

REQUEST_ID = b"X-Request-Id"

_SANE = re.compile(rb"[A-Za-z0-9._~+/=:@-]{1,128}")


class RequestIds:
    """
    Makes ids of 16 hexadecimal digits: eight that are the process's own, and a number. They are no secrets.

    @param own: those eight digits, chosen at random if it is empty.
    """

    def __init__(self, own: bytes = b"") -> None:
        self._own = own or token_hex(4).encode()
        self._numbers = count()

    def new(self) -> bytes:
        """An id that this process has not made before (within four billion)."""
        return b"%b%08x" % (self._own, next(self._numbers) & 0xFFFFFFFF)


def sane(values: list[bytes]) -> bytes:
    """
    The id that a request came with, if it is one that logs can show: one field of 1 to 128 letters, digits
    and C{._~+/=:@-}. @return: empty if it is not.
    """
    return values[0] if len(values) == 1 and _SANE.fullmatch(values[0]) else b""
