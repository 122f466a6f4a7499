"""The dashboard's files, read once: a page, its style sheet and its modules, as they are in the package."""

from __future__ import annotations

import gzip
import hashlib
from importlib.resources import files

import attr

from burrow.link import OWN_PATH

FOLDER = f"{OWN_PATH}/dashboard/"
"""Where the files are, but for the page itself, which is at C{/}."""

MEDIA = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@attr.frozen
class File:
    """@ivar packed: the same by gzip. @ivar etag: changes with it."""

    data: bytes = attr.field(repr=False)
    packed: bytes = attr.field(repr=False)
    media: str
    etag: str


def read_files() -> dict[str, File]:
    """The files by the paths at which they are served."""
    found = {}
    for file in (files(__package__) / "static").iterdir():
        media = MEDIA.get(file.name.rpartition(".")[2])
        if media is None:
            continue
        data = file.read_bytes()
        path = "/" if file.name == "index.html" else FOLDER + file.name
        etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        found[path] = File(data, gzip.compress(data, mtime=0), media, etag)
    return found
