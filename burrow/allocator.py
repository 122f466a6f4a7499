"""
What the C library does with memory that is freed (glibc's mallopt(3)): it keeps a few megabytes.

By default it gives freed blocks of 128 KiB, and what is free at the heap's end, back to the kernel. So a
buffer to read L{LARGE} bytes into costs new pages each time, which takes longer than the reading.
"""

from __future__ import annotations

import ctypes
import sys

LARGE = 256 * 1024
"""Bytes of a large buffer."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 4 * 1024 * 1024
_OWN_PAGES_FROM = 1024 * 1024

_keeps = False


def keep_freed_memory() -> None:
    """Have large buffers cost little from now on, where the C library can: only glibc does."""
    global _keeps
    if not sys.platform.startswith("linux"):
        return
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, such as musl
        return
    _keeps = bool(set_option(_TRIM_THRESHOLD, _KEPT) and set_option(_MMAP_THRESHOLD, _OWN_PAGES_FROM))


def large_buffers_are_cheap() -> bool:
    """Whether a buffer of L{LARGE} bytes costs about as much as a small one."""
    return _keeps
