"""
Which nodes of this machine have ended, whatever ended them.

A node's note in the store outlives a process that was killed, by
L{NODE_TTL<burrow.server.nodes.members.NODE_TTL>}. Meanwhile its agents, which come back at once, would be
sent to it, and its sessions would count against their tokens. So each node keeps a file in the state folder
locked (flock(2)) as long as its process lives. Whoever finds one that is not locked knows that its node is
gone, and removes the note.
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


class Lifetimes:
    """
    What cannot be written or locked is logged. A node that is killed then counts as there until its note is
    too old.

    @param state: the state folder; None if no note outlives its node.
    """

    log = Logger()

    def __init__(self, state: Path | None, now: Callable[[], float] = time.time) -> None:
        self._folder = None if state is None or fcntl is None else state / FOLDER
        self._now = now
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
        """The ids of nodes that have ended, and whose notes were not removed yet."""
        found: list[str] = []
        if self._folder is None:
            return found
        with contextlib.suppress(OSError):
            for each in self._folder.iterdir():
                if each.name.startswith(_NEW):
                    if self._now() - each.stat().st_mtime > _BEGINS_WITHIN:
                        each.unlink()
                elif each.name != self._name and self._is_free(each):
                    found.append(each.name)
        return found

    @staticmethod
    def _is_free(path: Path) -> bool:
        handle = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(handle)
        return True

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
