"""Answers compressed at the edge, where the visitor asks for it and the upstream did not. No I/O."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol
from weakref import WeakSet

import brotli

from burrow.http.headers import Headers
from burrow.http.response_head import ResponseHead
from burrow.policy.base import Visit

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_ENCODERS = 256
"""Answers that are compressed at a time in a process: each takes up to a MiB. Others pass as they are."""

LEAST = 1000
"""Bytes of a body that are worth it."""

_WINDOW = 17
"""The binary logarithm of what an encoder remembers: one for each answer under way."""

_ZSTD: Any = {zstd.CompressionParameter.compression_level: 3, zstd.CompressionParameter.window_log: _WINDOW}

_KINDS = (
    b"text/",
    b"application/json",
    b"application/javascript",
    b"application/xml",
    b"application/wasm",
    b"application/manifest+json",
    b"application/x-javascript",
    b"image/svg+xml",
    b"image/bmp",
    b"font/ttf",
    b"font/otf",
)


class Encoder(Protocol):
    """Encodes one body."""

    def feed(self, data: bytes) -> bytes:
        """Some of it; all that came so far can be decoded from what was returned: nothing is held back."""

    def end(self) -> bytes:
        """Its end."""


class _Gzip:
    def __init__(self) -> None:
        self._packer = zlib.compressobj(5, zlib.DEFLATED, 31)

    def feed(self, data: bytes) -> bytes:
        return self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._packer.flush()


class _Brotli:
    def __init__(self) -> None:
        self._packer: Any = brotli.Compressor(quality=4, lgwin=_WINDOW)

    def feed(self, data: bytes) -> bytes:
        return bytes(self._packer.process(data) + self._packer.flush())

    def end(self) -> bytes:
        return bytes(self._packer.finish())


class _Zstd:
    def __init__(self) -> None:
        self._packer: Any = zstd.ZstdCompressor(options=_ZSTD)

    def feed(self, data: bytes) -> bytes:
        return bytes(self._packer.compress(data, self._packer.FLUSH_BLOCK))

    def end(self) -> bytes:
        return bytes(self._packer.flush())


_ENCODERS: dict[bytes, Callable[[], Encoder]] = {b"br": _Brotli, b"zstd": _Zstd, b"gzip": _Gzip}
"""In the order in which they are taken, where a visitor likes several as much."""


_live: WeakSet[Any] = WeakSet()
"""The encoders that are in use."""


def coding(accepted: list[bytes]) -> bytes:
    """
    The coding that a visitor likes best (RFC 9110 section 12.5.3); empty for none.

    @param accepted: the parts of its Accept-Encoding, in lower case.
    """
    liked: dict[bytes, float] = {}
    for part in accepted:
        name, *parameters = (one.strip() for one in part.split(b";"))
        liked[name] = 1.0
        for parameter in parameters:
            if parameter.startswith(b"q="):
                try:
                    liked[name] = float(parameter[2:])
                except ValueError:
                    liked[name] = 0.0
    best, weight = b"", liked.get(b"identity", 0.0)
    for name in _ENCODERS:
        likes = liked.get(name, liked.get(b"*", 0.0))
        if likes > weight:
            best, weight = name, likes
    return best


class Compress:
    """The rule."""

    __slots__ = ()

    def visit(self, visit: Visit) -> None:
        """See L{IRule<burrow.policy.base.IRule>}."""
        visit.compress = True


def compressed(visit: Visit, head: ResponseHead) -> tuple[ResponseHead, Encoder | None]:
    """
    An answer's head, and what encodes its body; None if that stays what it is.

    @param head: after all other changes.
    """
    headers = head.headers
    kind = headers.value(b"content-type").lower()
    if (
        head.bodiless
        or head.status == 206
        or visit.request.upgrade
        or b"content-encoding" in headers
        or b"content-range" in headers
        or not kind.startswith(_KINDS)
        or kind.startswith(b"text/event-stream")  # each of thousands would keep an encoder
        or b"no-transform" in headers.tokens(b"cache-control")
        or (head.declared is not None and head.declared < LEAST)
    ):
        return head, None
    fields = list(headers.fields)
    if b"accept-encoding" not in headers.tokens(b"vary"):
        fields.append((b"Vary", b"Accept-Encoding"))
    name = coding(visit.request.headers.tokens(b"accept-encoding"))
    if not name or len(_live) >= MAX_ENCODERS:
        return replace(head, headers=Headers(fields), passed_on=None), None
    gone = (b"content-length", b"accept-ranges", b"content-md5", b"digest", b"content-digest", b"repr-digest")
    fields = [
        # Other bytes: an entity tag is a weak one then (RFC 9110 section 8.8.1).
        (one, b"W/" + value if one.lower() == b"etag" and value.startswith(b'"') else value)
        for one, value in fields
        if one.lower() not in gone
    ]
    fields.append((b"Content-Encoding", name))
    length = 0 if visit.request.method == b"HEAD" else None
    changed = replace(head, headers=Headers(fields), length=length, declared=None, passed_on=None)
    if visit.request.method == b"HEAD":
        return changed, None
    encoder = _ENCODERS[name]()
    _live.add(encoder)
    return changed, encoder
