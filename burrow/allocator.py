"""
What becomes of memory that is freed. The C library (glibc's mallopt(3)) keeps a few megabytes, and Python
looks less often for cycles of objects that nobody refers to.

By default glibc gives freed blocks of 128 KiB, and what is free at the heap's end, back to the kernel. So a
buffer to read L{LARGE} bytes into costs new pages each time, which takes longer than the reading.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable

LARGE = 256 * 1024
"""Bytes of a large buffer."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 4 * 1024 * 1024
_OWN_PAGES_FROM = 1024 * 1024

_CYCLES_EVERY = 5_000
"""
New objects, less those that were freed, until Python looks for cycles among them; its default is 700. With
1,000 agents a fifth of the server's CPU went there. Not more: a TLS connection that is closed may be in a
cycle, and keeps some 60 KiB of OpenSSL's until then.
"""

_keeps = False
_trim: Callable[[int], int] | None = None


def look_for_cycles_less_often() -> None:
    """Leave out what exists now, modules and their code, from all further looking for cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_CYCLES_EVERY, 10, 20)


def keep_freed_memory() -> None:
    """Have large buffers cost little from now on, where the C library can: only glibc does."""
    global _keeps, _trim
    if not sys.platform.startswith("linux"):
        return
    try:
        library = ctypes.CDLL(None)
        set_option, _trim = library.mallopt, library.malloc_trim
    except (OSError, AttributeError):  # another C library, such as musl
        return
    _keeps = bool(set_option(_TRIM_THRESHOLD, _KEPT) and set_option(_MMAP_THRESHOLD, _OWN_PAGES_FROM))


def give_back_free_pages() -> None:
    """
    Have the C library give all pages that are free back to the kernel, but for those few megabytes that it
    keeps, where L{keep_freed_memory} found that it can (malloc_trim(3)). It takes a millisecond for some 3 MB
    that it gives back: to be called after much was freed, and not where somebody waits.
    """
    if _trim is not None:
        _trim(_KEPT)


def large_buffers_are_cheap() -> bool:
    """Whether a buffer of L{LARGE} bytes costs about as much as a small one."""
    return _keeps
