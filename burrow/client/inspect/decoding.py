"""
Bodies as people and programs want them: without their Content-Encoding, as text where they are text. No I/O.

A body of a few bytes may unpack to gigabytes (a "bomb"): what is unpacked is bounded by L{MAX_DECODED}.
"""

from __future__ import annotations

import codecs
import re
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from burrow.traffic.record import Fields

MAX_DECODED = 4 * 1024 * 1024
"""Bytes that a body is unpacked to, at most."""

MAX_CODINGS = 3
"""Codings that are undone, one on another, at most."""

_MAX_MEMBERS = 100
"""Members of one gzip file, or frames of zstd, at most: each copies what follows it."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """
    @ivar data: the body without its codings; as it was if C{error} is set.
    @ivar truncated: whether there is more than that. @ivar error: why it could not be unpacked, as a sentence
        without a full stop; empty if it could.
    """

    data: bytes
    truncated: bool
    error: str = ""


def field(fields: Fields, name: bytes) -> str:
    """The first value of a header field, C{name} in lower case; empty if there is none."""
    for each, value in fields:
        if each.lower() == name:
            return value.decode("latin-1")
    return ""


def _zlib(data: bytes, most: int, bits: int) -> tuple[bytes, bool]:
    """@param bits: see L{zlib.decompressobj}. Of gzip all members (RFC 1952 section 2.2)."""
    out = bytearray()
    for _ in range(_MAX_MEMBERS):
        if not data or len(out) > most:
            break
        unpacker = zlib.decompressobj(bits)
        out += unpacker.decompress(data, most + 1 - len(out))
        if not unpacker.eof:
            break  # its end is missing, or there is more than may be
        data = unpacker.unused_data if bits > zlib.MAX_WBITS else b""
    return bytes(out[:most]), len(out) > most


def _gzip(data: bytes, most: int) -> tuple[bytes, bool]:
    return _zlib(data, most, zlib.MAX_WBITS + 16)


def _deflate(data: bytes, most: int) -> tuple[bytes, bool]:
    """With zlib's frame as RFC 9110 section 8.4.1.2 has it, or bare as some servers send it."""
    try:
        return _zlib(data, most, zlib.MAX_WBITS)
    except zlib.error:
        return _zlib(data, most, -zlib.MAX_WBITS)


def _brotli(data: bytes, most: int) -> tuple[bytes, bool]:
    unpacker = brotli.Decompressor()
    out = bytearray(unpacker.process(data, output_buffer_limit=most + 1))
    while len(out) <= most and not unpacker.is_finished() and not unpacker.can_accept_more_data():
        out += unpacker.process(b"", output_buffer_limit=most + 1 - len(out))
    return bytes(out[:most]), len(out) > most


def _zstd(data: bytes, most: int) -> tuple[bytes, bool]:
    out = bytearray()
    for _ in range(_MAX_MEMBERS):
        if not data or len(out) > most:
            break
        # 8 MiB of window are what a server may ask for (RFC 9659).
        unpacker = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: 23})
        out += unpacker.decompress(data, most + 1 - len(out))
        if not unpacker.eof:
            break
        data = unpacker.unused_data
    return bytes(out[:most]), len(out) > most


_CODINGS: dict[str, Callable[[bytes, int], tuple[bytes, bool]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
_ERRORS: tuple[Any, ...] = (zlib.error, brotli.error, zstd.ZstdError, EOFError)


def decode(data: bytes, fields: Fields, most: int = MAX_DECODED) -> Decoded:
    """
    Undo a body's Content-Encoding.

    @param data: the body, or its beginning: what can be unpacked of it is.
    @param most: bytes that it is unpacked to, at most.
    """
    names = ",".join(value.decode("latin-1") for name, value in fields if name.lower() == b"content-encoding")
    codings = [name.strip().lower() for name in names.split(",") if name.strip()]
    truncated, decoded = False, data
    if len(codings) > MAX_CODINGS:
        return Decoded(data, False, f"it is coded {len(codings)} times")
    for coding in reversed(codings):
        if coding == "identity":
            continue
        if coding not in _CODINGS:
            return Decoded(data, False, f"the coding {coding[:40]} is not known here")
        try:
            decoded, more = _CODINGS[coding](decoded, most)
        except _ERRORS as error:
            return Decoded(data, False, f"it is no {coding}: {error}")
        truncated = truncated or more
    return Decoded(decoded, truncated)


_CHARSET = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9._:-]{1,40})""", re.IGNORECASE)
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MEDIA = ("image/", "audio/", "video/", "font/")


def as_text(data: bytes, content_type: str, *, cut: bool) -> str | None:
    """
    A body as text; None if it is none.

    @param cut: whether it may end in the middle of a character.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith(_MEDIA) and not kind.endswith("+xml"):
        return None
    found = _CHARSET.search(content_type)
    charset = found[1] if found else "utf-8"
    try:
        info = codecs.lookup(charset)
        if not info._is_text_encoding:
            return None  # such as "zip", which is a bomb of its own
        text = info.incrementaldecoder("strict").decode(data, not cut)
    except (LookupError, UnicodeError, ValueError, TypeError):
        return None
    if not found and _BINARY.search(data):
        return None
    return str(text)
