"""
What changes in the store, for all parts of a node that follow it: they are told from one question.

Who follows keeps what it was told until it dealt with it: nothing is told twice, except where the store
cannot tell what changed, and tells all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from burrow.store.base import IStore
from burrow.store.changes import Changes, Note


class ChangeReader:
    """
    @param spaces: whose notes are read.
    @ivar listeners: called, each with the L{Changes}, at each reading.
    """

    def __init__(self, store: IStore, spaces: Collection[str]) -> None:
        self._store = store
        self._spaces = spaces
        self._version = ""
        self.listeners: list[Callable[[Changes], None]] = []

    @property
    def knows(self) -> bool:
        """Whether the next reading tells only what changed, and not everything."""
        return bool(self._version)

    async def read(self, note: Note | None = None) -> Changes:
        """
        Read once, and tell the listeners. One reading at a time, please.

        @param note: see L{IStore.changes}. @raise StoreError: the store cannot tell.
        """
        whole = self._store.whole
        changes: Changes = await self._store.changes(self._spaces, self._version, note)
        # After a loss other servers write again what they know: what is missing until then is not gone, and
        # is told once more when that is over.
        self._version = changes.version if whole and self._store.whole else ""
        for listener in self.listeners:
            listener(changes)
        return changes

    def forget(self) -> None:
        """The next reading is to tell everything: somebody writes what the store's log does not tell."""
        self._version = ""
