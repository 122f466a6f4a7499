"""
Which nodes of this machine have ended, whatever ended them.

A node's note in the store outlives a process that was killed, by
L{NODE_TTL<burrow.server.nodes.members.NODE_TTL>}. Meanwhile its agents, which come back at once, would be
sent to it, and its sessions would count against their tokens. So each node keeps a file in the state folder
locked (flock(2)) as long as its process lives. Whoever finds one that is not locked knows that its node is
gone, and removes the note.

A copy of the state folder has such files, too, and nobody locks them: the nodes may live, beside the original
and on the same Redis. So a file names the boot of the machine in which it was made, and its own inode. One
that names another boot or another inode is a copy: it says nothing of its node, and is removed without the
note.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from twisted.logger import Logger

from burrow.server.nodes.records import NODES
from burrow.store.base import IStore

try:
    import fcntl
except ImportError:  # Windows, where a node that was killed counts as there until its note is too old
    fcntl = None  # type: ignore[assignment]

FOLDER = "nodes"
"""Of the state folder. A file has the name of its node."""

_NEW, _BEGINS_WITHIN = ".new-", 60.0
"""How a file's name begins that is not locked yet, and seconds after which it never will be."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Linux has a random word there at each start of the system: proc_sys_kernel(5)."""


def _place(handle: int, boot: Path) -> bytes:
    """What a node's file says where it was made: the boot, and its inode. @param handle: of the file."""
    try:
        word = boot.read_bytes().strip()
    except OSError:  # not Linux: a copy is told from its original by the inode alone
        word = b""
    return b"%b %d" % (word, os.fstat(handle).st_ino)


class Lifetimes:
    """
    What cannot be written or locked is logged. A node that is killed then counts as there until its note is
    too old.

    @param state: the state folder; None if no note outlives its node.
    @param boot: a file with another text after each start of the system; it need not be there.
    """

    log = Logger()

    def __init__(self, state: Path | None, now: Callable[[], float] = time.time, boot: Path = _BOOT) -> None:
        self._folder = None if state is None or fcntl is None else state / FOLDER
        self._now = now
        self._boot = boot
        self._held: int | None = None
        self._name = ""

    def begin(self, node: str) -> None:
        """This process is a node from now on. @param node: its id."""
        if self._folder is None:
            return
        new = self._folder / f"{_NEW}{node}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._held = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
            # Locked before it gets its name, so that nobody finds it there unlocked.
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self._held, _place(self._held, self._boot))
            new.replace(self._folder / node)
            self._name = node
        except OSError as error:
            self.log.warn(
                "{folder} cannot be used ({error}): agents of a server that was killed come back later",
                folder=str(self._folder),
                error=error.strerror,
            )
            self.end()

    def ended(self) -> list[str]:
        """
        The ids of nodes that have ended, and whose notes were not removed yet. Files that say nothing of
        their nodes are removed.
        """
        found: list[str] = []
        if self._folder is None:
            return found
        entries: list[Path] = []
        with contextlib.suppress(OSError):
            entries = list(self._folder.iterdir())
        for each in entries:
            # One that another process has just removed, or that cannot be opened, tells nothing, and does
            # not keep us from the others.
            with contextlib.suppress(OSError):
                if each.name.startswith(_NEW):
                    if self._now() - each.stat().st_mtime > _BEGINS_WITHIN:
                        each.unlink()
                elif each.name != self._name:
                    with contextlib.suppress(BlockingIOError):
                        if self._was_made_here(each):
                            found.append(each.name)
                        else:
                            each.unlink()
        return found

    def _was_made_here(self, path: Path) -> bool:
        """Whether a node's file is no copy. @raise BlockingIOError: the node lives."""
        handle = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            place = _place(handle, self._boot)
            return os.read(handle, len(place) + 1) == place
        finally:
            os.close(handle)

    async def clear(self, store: IStore) -> None:
        """Remove the notes of nodes that have ended. @raise StoreError: the store cannot."""
        for node in self.ended():
            if (text := await store.note(NODES, node)) is not None:
                await store.swap_note(NODES, node, text, None)
            self._forget(node)

    def _forget(self, node: str) -> None:
        if self._folder is not None:
            with contextlib.suppress(OSError):
                (self._folder / node).unlink()

    def end(self) -> None:
        """This process is no node any more."""
        if self._held is not None:
            if self._name:
                self._forget(self._name)
            os.close(self._held)
            self._held = None
