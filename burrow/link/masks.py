"""
Masks of WebSocket frames (RFC 6455 section 5.3): where they come from, and how they are applied.

Measured, CPU us for 64 B, 1 KiB, 16 KiB and 256 KiB: Autobahn's masker 4.4, 4.7, 5.6, 313; one XOR of two
large integers .8, 3.2, 35, 1260; C{bytes.translate} for each fourth byte 2.3, 4.6, 36, 777; Autobahn's C
function without its object 1.5, 1.6, 2.1, 14. So the last is used where it is, but for a few bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from os import urandom
from typing import Any

from autobahn import websocket

_nvx: Any = import_module("_nvx_xormasker") if getattr(websocket, "USES_NVX", False) else None
"""
Autobahn's functions in C; None where it was built without, is told by its variable not to use them, or is of
a release before 25.9, which does not tell.
"""

ZERO = bytes(4)
"""The mask that changes nothing."""

_FEW = 128
_POOL = 4096
_TABLES = [bytes(byte ^ key for byte in range(256)) for key in range(256)]


def _random_masks() -> Iterator[bytes]:
    """Masks that nobody can predict, by one call of the system for a thousand."""
    while True:
        pool = urandom(_POOL)
        for start in range(0, _POOL, 4):
            yield pool[start : start + 4]


random_masks = _random_masks()
"""C{next} of it is a mask for one frame. Not for threads."""


def apply_mask(mask: bytes, data: bytes | memoryview) -> bytes | bytearray:
    """
    C{data} under a mask, or without it: the two are the same.

    @param mask: four bytes.
    """
    size = len(data)
    if size <= _FEW:
        key = mask * (size >> 2) + mask[: size & 3]
        return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
    masked = bytearray(data)
    mask_in_place(mask, masked)
    return masked


def _mask_in_python(mask: bytes, data: bytearray | memoryview) -> None:
    for place in range(4):
        data[place::4] = bytes(data[place::4]).translate(_TABLES[mask[place]])


def _mask_in_c(mask: bytes, data: bytearray | memoryview) -> None:
    masker = _nvx.lib.nvx_xormask_new(mask)
    _nvx.lib.nvx_xormask_process(masker, _nvx.ffi.from_buffer(data), len(data))
    _nvx.lib.nvx_xormask_free(masker)


mask_in_place = _mask_in_python if _nvx is None else _mask_in_c
"""Apply a mask of four bytes to what can be written to, without a copy."""
