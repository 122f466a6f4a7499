"""The page that lists a folder. Reading one may block: it belongs in a thread."""

from __future__ import annotations

import heapq
import os
import stat
import time
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from html import escape
from typing import NamedTuple
from urllib.parse import quote

from burrow.protocols.files.tree import Forbidden, Missing, Root
from burrow.shown import escaped

MAX_SHOWN = 5000
"""Entries on a page, at most. A folder with more says how many it does not show."""

_STYLE = """
:root{color-scheme:light dark;--line:#8883;--dim:#667}
@media(prefers-color-scheme:dark){:root{--dim:#99a}}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1.5rem 1rem}
h1{font-size:1.25rem;font-weight:600;overflow-wrap:anywhere;margin:0 0 1rem}
h1 a{text-decoration:none}
table{width:100%;border-collapse:collapse}
th{text-align:left;font-weight:400;color:var(--dim);font-size:.85rem}
td,th{padding:.45rem .5rem;border-bottom:1px solid var(--line)}
td:first-child{overflow-wrap:anywhere}
td a{display:block;text-decoration:none}
td a:hover,h1 a:hover{text-decoration:underline}
.n{width:1%;padding-left:1.5rem;text-align:right;white-space:nowrap;color:var(--dim);font-variant-numeric:tabular-nums}
p{color:var(--dim)}
@media(max-width:36rem){.t{display:none}td,th{padding:.6rem .25rem}}
"""

POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
    + ("base-uri 'none'; form-action 'none'; frame-ancestors 'self'")
)
"""The page's Content-Security-Policy: no script, whatever a file is called."""


class Entry(NamedTuple):
    """What a line shows. C{modified}: seconds since the epoch."""

    name: str
    is_folder: bool
    size: int
    modified: float


def read_folder(root: Root, names: list[str], folder: int) -> tuple[list[Entry], int]:
    """
    The entries of a folder, folders first, each by its name.

    Among many only those that are shown are kept in order, one by one: sorting all at once would hold up
    every other thread of the agent.

    @param folder: its descriptor. @return: those that are shown, and how many there are.
    """
    count = 0

    def keys() -> Iterator[tuple[bool, str, str]]:
        nonlocal count
        with os.scandir(folder) as found:
            for entry in found:
                if (
                    entry.name.startswith(".")
                    or "\\" in entry.name
                    or (root.only and entry.name != root.only)
                ):
                    continue
                count += 1
                yield not _is_folder(entry), entry.name.lower(), entry.name

    entries = []
    for _, _, name in heapq.nsmallest(MAX_SHOWN, keys()):
        entry = _entry(root, names, folder, name)
        if entry is None:
            count -= 1
        else:
            entries.append(entry)
    return sorted(entries, key=lambda entry: not entry.is_folder), count


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _entry(root: Root, names: list[str], folder: int, name: str) -> Entry | None:
    """None for what would not be served: a link that leads out, a socket, what is gone meanwhile."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            descriptor, status = root.open([*names, name])
            os.close(descriptor)
    except (OSError, Missing, Forbidden):
        return None
    is_folder = stat.S_ISDIR(status.st_mode)
    if not is_folder and not stat.S_ISREG(status.st_mode):
        return None
    return Entry(name, is_folder, status.st_size, status.st_mtime)


def link(names: list[str], is_folder: bool = True) -> str:
    """The path of names as an address. It begins with one slash, so it never leads to another host."""
    return (
        "/"
        + "/".join(quote(os.fsencode(name), safe="") for name in names)
        + ("/" * (is_folder and bool(names)))
    )


def _size(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    amount = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        amount /= 1000
        if amount < 999.5 or unit == "TB":
            break
    return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:.0f} {unit}"


def _text(name: str) -> str:
    """A name as HTML: all of it is printable; bytes that are no UTF-8 are shown by their numbers."""
    return escape(escaped(os.fsencode(name).decode("utf-8", "backslashreplace")))


def page(title: str, names: list[str], entries: list[Entry], count: int) -> bytes:
    """
    The page.

    @param title: what the root is called. @param names: the folder's, from the root.
    @param count: how many entries there are.
    """
    crumbs = [f'<a href="/">{_text(title)}</a>']
    crumbs += [f'<a href="{link(names[: at + 1])}">{_text(name)}</a>' for at, name in enumerate(names)]
    rows = ['<tr><td><a href="../">..</a></td><td></td><td class="t"></td></tr>'] if names else []
    for each in entries:
        slash = "/" if each.is_folder else ""
        size = "" if each.is_folder else _size(each.size)
        address = link([*names, each.name], each.is_folder)
        rows.append(
            f'<tr><td><a href="{address}">{_text(each.name)}{slash}</a></td>'
            f'<td class="n">{size}</td><td class="n t">{_time(each.modified)}</td></tr>'
        )
    where = _text("/".join([title, *names]))
    note = ""
    if count > len(entries):
        note = f"<p>{len(entries)} of {count} entries are shown.</p>"
    elif not entries:
        note = "<p>This folder is empty.</p>"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{where}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><h1>{' / '.join(crumbs)}</h1>"
        '<table><thead><tr><th>Name</th><th class="n">Size</th>'
        '<th class="n t">Changed (UTC)</th></tr></thead>'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody></table>{note}</body></html>\n"
    ).encode()


def _time(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return ""
