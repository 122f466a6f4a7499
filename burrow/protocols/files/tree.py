"""
Finds the file that a request's path means, inside the folder that is served and nowhere else.

The path is walked one name at a time, each opened relative to the descriptor of the folder before it and
without following links (openat and O_NOFOLLOW of POSIX). So whatever is renamed or replaced meanwhile, no
step leaves the folder. A link is read, and its target walked in the same way; what leads out of the folder is
as if it were not there, and so is every name that begins with a dot, also as a part of a link's target.

All calls here may block: they belong in a thread.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

MAX_LINKS = 40
"""Links on the way to one file, at most, as Linux has it (path_resolution(7))."""

_SEARCH = getattr(os, "O_PATH", os.O_RDONLY)
"""Opens a folder to walk through, which needs no right to list it where the system makes that difference."""

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO, errno.EINVAL}


class Missing(Exception):
    """The folder has nothing that is served under this path."""


class Forbidden(Exception):
    """There is something, which the agent's user may not read."""


def possible() -> bool:
    """Whether this system has what is needed here."""
    return os.open in os.supports_dir_fd and os.scandir in os.supports_fd and hasattr(os, "O_NOFOLLOW")


def names_of(path: bytes) -> tuple[list[str], bool]:
    """
    The names in a request's path, in the file system's encoding.

    @param path: what is before the "?" of the target, percent-encoded.
    @return: the names, and whether the path ends with a slash, as that of a folder does.
    @raise Missing: no file that is served can be meant, as where a name could be read as two names.
    """
    if not path.startswith(b"/"):
        raise Missing
    parts = path[1:].split(b"/")
    is_folder = parts[-1] == b""
    if is_folder:
        parts.pop()
    names = []
    for part in parts:
        name = unquote_to_bytes(part)
        if not name or name.startswith(b".") or any(byte in name for byte in (b"/", b"\\", b"\0")):
            raise Missing
        names.append(os.fsdecode(name))
    return names, is_folder


@dataclass(frozen=True)
class Root:
    """
    What is served.

    @ivar path: the folder's path, absolute. It is opened anew each time, since it may be replaced as a whole.
    @ivar only: the name of the one file that is served of it; empty for all.
    """

    path: Path
    only: str = ""

    def open(self, names: list[str]) -> tuple[int, os.stat_result]:
        """
        Open a file or a folder. The caller closes the descriptor; that of a folder can be listed.

        @return: a descriptor, and what C{fstat} says of it.
        @raise Missing: there is none. @raise Forbidden: it may not be read. @raise OSError: the disk failed.
        """
        with _explained():
            walk = _Walk(self.path)
            try:
                if self.only and names and names != [self.only]:
                    raise Missing
                return walk.open(names)
            finally:
                walk.close()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise Forbidden from error
    except OSError as error:
        if error.errno in _ABSENT:
            raise Missing from error
        raise


class _Walk:
    """
    One way down from the root.

    @ivar _folders: descriptors of the folders that the walk is in, the root first.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders = [os.open(root, _SEARCH | os.O_DIRECTORY | os.O_CLOEXEC)]

    def close(self) -> None:
        """Close the folders."""
        for folder in self._folders:
            os.close(folder)

    def open(self, names: list[str]) -> tuple[int, os.stat_result]:
        """See L{Root.open}."""
        waiting = list(reversed(names))
        links = 0
        while waiting:
            name = waiting.pop()
            if name in ("", "."):
                continue
            if name == "..":  # of a link: the path of a request has none
                if len(self._folders) == 1:
                    raise Missing
                os.close(self._folders.pop())
                continue
            if name.startswith("."):
                raise Missing
            here = self._folders[-1]
            mode = os.stat(name, dir_fd=here, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                links += 1
                if links > MAX_LINKS:
                    raise Missing
                waiting += reversed(self._target(name).split("/"))
            elif stat.S_ISDIR(mode):
                self._folders.append(
                    os.open(name, _SEARCH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
                )
            elif stat.S_ISREG(mode) and not waiting:
                return self._file(name)
            else:  # a device, a socket or a FIFO; or a file where a folder was meant
                raise Missing
        return self._opened(
            os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._folders[-1])
        )

    def _target(self, name: str) -> str:
        """Where a link leads, from here. An absolute target is one in the root, or leads out."""
        target = os.readlink(name, dir_fd=self._folders[-1])
        if not target.startswith("/"):
            return target
        for root in (str(self._root), os.path.realpath(self._root)):
            inside = root.rstrip("/") + "/"
            if target == root or target.startswith(inside):
                while len(self._folders) > 1:
                    os.close(self._folders.pop())
                return target[len(inside) :]
        raise Missing

    def _file(self, name: str) -> tuple[int, os.stat_result]:
        # Without O_NONBLOCK, a FIFO that took the file's place just now would wait for its writer for ever.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor, status = self._opened(os.open(name, flags, dir_fd=self._folders[-1]))
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise Missing
        return descriptor, status

    def _opened(self, descriptor: int) -> tuple[int, os.stat_result]:
        try:
            return descriptor, os.fstat(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
