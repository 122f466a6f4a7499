"""
Bytes that wait in pieces, as they came. No I/O.

A piece takes some 50 bytes of memory beside its own. What is bounded counts bytes alone, and who sends a body
byte by byte would have its bound hold fifty times as much. So small ones are joined.
"""

from __future__ import annotations

from typing import Any

SMALL = 512
"""Bytes of a piece that is joined with others. What is copied of each is this at most."""


def put(pieces: Any, data: bytes) -> None:
    """Put bytes behind those that wait. C{pieces}: a list or deque of bytes and memoryviews."""
    if pieces and len(data) < SMALL and type(last := pieces[-1]) is bytes and len(last) < SMALL:
        pieces[-1] = last + data
    else:
        pieces.append(data)
