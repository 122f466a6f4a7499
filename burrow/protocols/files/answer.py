"""What is answered to one request. All of it may block: it belongs in a thread."""

from __future__ import annotations

import errno
import os
import stat
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from secrets import token_hex

from burrow.http.fields import write_head
from burrow.http.headers import Fields
from burrow.http.request_head import RequestHead
from burrow.protocols.files.listing import POLICY, link, page, read_folder
from burrow.protocols.files.media import media_type
from burrow.protocols.files.ranges import Unsatisfiable, Validators
from burrow.protocols.files.tree import Forbidden, Missing, Root, names_of

INDEX = "index.html"

_PHRASES = {
    200: b"OK",
    206: b"Partial Content",
    301: b"Moved Permanently",
    302: b"Found",
    304: b"Not Modified",
    400: b"Bad Request",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    412: b"Precondition Failed",
    416: b"Range Not Satisfiable",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}


@dataclass
class Answer:
    """
    An answer: a head, and what follows it.

    @ivar pieces: bytes, and parts of the file: where each begins, and how many bytes it has.
    @ivar file: the descriptor of that file, which whoever has the answer closes; None if there is none.
    """

    status: int
    fields: Fields
    pieces: list[bytes | tuple[int, int]] = field(default_factory=list)
    file: int | None = None

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return sum(len(piece) if isinstance(piece, bytes) else piece[1] for piece in self.pieces)

    def head(self, close: bool) -> bytes:
        """Its head. @param close: whether the connection is closed after it."""
        fields = [(b"Date", formatdate(usegmt=True).encode()), *self.fields]
        if self.status != 304:
            fields.append((b"Content-Length", b"%d" % self.length))
        if close:
            fields.append((b"Connection", b"close"))
        return write_head(b"HTTP/1.1 %d %b" % (self.status, _PHRASES[self.status]), fields)

    def close(self) -> None:
        """Close its file."""
        if self.file is not None:
            os.close(self.file)
            self.file = None


def told(status: int, text: str, *fields: tuple[bytes, bytes]) -> Answer:
    """An answer that is one sentence."""
    head = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"X-Content-Type-Options", b"nosniff"), *fields]
    return Answer(status, head, [f"{text}\n".encode()])


def answer(root: Root, listed: bool, head: RequestHead, now: float | None = None) -> Answer:
    """
    Answer a request.

    @param listed: whether a folder without an index page is listed. @param now: seconds since the epoch.
    """
    if head.method not in (b"GET", b"HEAD"):
        return told(405, "Files can be read here, and nothing else.", (b"Allow", b"GET, HEAD"))
    try:
        return _found(root, listed, head, time.time() if now is None else now)
    except Missing:
        return told(404, "There is no such file here.")
    except Forbidden:
        return told(403, "This file cannot be read: the agent's user may not.")
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            busy = "The agent has as many files open as it may have. Try again soon."
            return told(503, busy, (b"Retry-After", b"1"))
        return told(500, "The file cannot be read: its disk failed.")


def _found(root: Root, listed: bool, head: RequestHead, now: float) -> Answer:
    path, mark, query = head.target.partition(b"?")
    names, asks_folder = names_of(path)
    if root.only and not names:
        return told(302, "The file is here.", (b"Location", link([root.only], False).encode()))
    descriptor, status = root.open(names)
    try:
        if not stat.S_ISDIR(status.st_mode):
            if asks_folder:
                raise Missing
            found, descriptor = _file(head, names[-1], descriptor, status, now), -1
            return found
        if not asks_folder:
            return told(301, "The folder is here.", (b"Location", link(names).encode() + mark + query))
        try:
            index, status = root.open([*names, INDEX])
        except Missing:
            pass
        else:
            if stat.S_ISREG(status.st_mode):
                return _file(head, INDEX, index, status, now)
            os.close(index)
        if not listed:
            raise Missing
        return _list(root, names, descriptor)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _list(root: Root, names: list[str], folder: int) -> Answer:
    fields = [
        (b"Content-Type", b"text/html; charset=utf-8"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Cache-Control", b"no-cache"),
        (b"Content-Security-Policy", POLICY.encode()),
    ]
    title = root.path.name or "/"
    return Answer(200, fields, [page(title, names, *read_folder(root, names, folder))])


def _file(head: RequestHead, name: str, descriptor: int, status: os.stat_result, now: float) -> Answer:
    """The answer with a file, which has the descriptor from now on."""
    whole = Answer(200, [], file=descriptor)
    try:
        _fill(whole, head, media_type(name).encode(), status, now)
    except BaseException:
        whole.close()
        raise
    return whole


def _fill(whole: Answer, head: RequestHead, kind: bytes, status: os.stat_result, now: float) -> None:
    size = status.st_size
    validators = Validators(size, status.st_mtime_ns, status.st_ino)
    # A browser asks each time whether its copy is still right: who edits a file sees the change.
    known = [(b"ETag", validators.tag), (b"Last-Modified", validators.date), (b"Cache-Control", b"no-cache")]
    about = [(b"Content-Type", kind), (b"X-Content-Type-Options", b"nosniff")]
    whole.status = validators.condition(head.method, head.headers)
    if whole.status == 304:
        whole.fields = known
        return
    if whole.status == 412:
        refused = told(412, "The file has changed, or is not the one that is meant.")
        whole.fields, whole.pieces = [*refused.fields, *known], refused.pieces
        return
    whole.fields = [*about, *known, (b"Accept-Ranges", b"bytes")]
    whole.pieces = [(0, size)]
    if head.method != b"GET":
        return
    try:
        ranges = validators.ranges(head.headers, now)
    except Unsatisfiable:
        refused = told(416, f"The file has {size} bytes: none of those that are asked for.")
        whole.status, whole.pieces = 416, refused.pieces
        whole.fields = [*refused.fields, (b"Content-Range", b"bytes */%d" % size), *known]
        return
    if ranges is None:
        return
    whole.status = 206
    if len(ranges) == 1:
        whole.fields.append((b"Content-Range", _content_range(*ranges[0], size)))
        whole.pieces = [*ranges]
        return
    boundary = token_hex(12).encode()
    whole.fields[0] = (b"Content-Type", b"multipart/byteranges; boundary=" + boundary)
    whole.pieces = []
    for start, length in ranges:
        part = [(b"Content-Type", kind), (b"Content-Range", _content_range(start, length, size))]
        whole.pieces += [b"\r\n" + write_head(b"--" + boundary, part), (start, length)]
    whole.pieces.append(b"\r\n--" + boundary + b"--\r\n")


def _content_range(start: int, length: int, size: int) -> bytes:
    return b"bytes %d-%d/%d" % (start, start + length - 1, size)
