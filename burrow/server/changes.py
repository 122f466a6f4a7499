"""
Reads what changed in the store, with one question for all parts of a node that need it.

Each change is reported once, so a listener has to remember it until it has handled it. If the store cannot
tell what changed, everything is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from burrow.store.base import IStore
from burrow.store.changes import Changes, Note


class ChangeReader:
    """
    @param spaces: the spaces whose notes are read.
    @ivar listeners: called, each with the L{Changes}, at each reading.
    """

    def __init__(self, store: IStore, spaces: Collection[str]) -> None:
        self._store = store
        self._spaces = spaces
        self._version = ""
        self.listeners: list[Callable[[Changes], None]] = []

    @property
    def knows(self) -> bool:
        """Whether the next reading reports only what changed, and not everything."""
        return bool(self._version)

    async def read(self, note: Note | None = None) -> Changes:
        """
        Read the changes once, and call the listeners. Do not call this while a reading runs.

        @param note: see L{IStore.changes}. @raise StoreError: the store cannot tell.
        """
        whole = self._store.whole
        changes: Changes = await self._store.changes(self._spaces, self._version, note)
        # After a loss of data other servers write again what they know: what is missing until then is not
        # gone. So everything is read again afterwards.
        self._version = changes.version if whole and self._store.whole else ""
        for listener in self.listeners:
            listener(changes)
        return changes

    def forget(self) -> None:
        """Report everything at the next reading, since a node writes changes that the store does not log."""
        self._version = ""
