"""Which media type a file has, by its name alone: what it holds is never looked at."""

from __future__ import annotations

import mimetypes

_TYPES = {
    "avif": "image/avif",
    "css": "text/css",
    "csv": "text/csv",
    "htm": "text/html",
    "html": "text/html",
    "ics": "text/calendar",
    "js": "text/javascript",
    "json": "application/json",
    "log": "text/plain",
    "map": "application/json",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "mp4": "video/mp4",
    "pdf": "application/pdf",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain",
    "wasm": "application/wasm",
    "webm": "video/webm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xml": "text/xml",
    "yaml": "application/yaml",
    "yml": "application/yaml",
}
"""What pages are made of: a machine's own table may have older names for it, or none."""

_PACKED = {
    "br": "application/octet-stream",
    "bz2": "application/x-bzip2",
    "gz": "application/gzip",
    "xz": "application/x-xz",
    "z": "application/x-compress",
    "zst": "application/zstd",
}
"""A packed file is itself what is sent: not a coding of what is in it, which a browser would unpack."""

UNKNOWN = "application/octet-stream"


def media_type(name: str) -> str:
    """The value of Content-Type for a file of this name."""
    _, dot, ending = name.rpartition(".")
    ending = ending.lower()
    if not dot:
        return UNKNOWN
    kind = _TYPES.get(ending) or _PACKED.get(ending)
    if kind is None:
        guessed, coding = mimetypes.guess_type(f"file.{ending}" if ending.isalnum() else "file")
        kind = UNKNOWN if guessed is None or coding else guessed
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
