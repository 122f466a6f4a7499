"""What a node does every so often with the store, and does next time if the store cannot answer now."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from burrow.errors import StoreError
from burrow.repeat import repeating


class Rounds:
    """
    Base of such work: L{round} is its one.

    @cvar every: seconds between two rounds. @cvar what: what is done, for the log.
    """

    log = Logger()
    every: float
    what: str

    def __init__(self, clock: Any) -> None:
        self._loop = repeating(clock, self._try, self.what)

    def start(self) -> None:
        """Begin; the first round comes L{every} seconds later."""
        self._loop.start(self.every, now=False)

    def stop(self) -> None:
        """End."""
        if self._loop.running:
            self._loop.stop()

    async def _try(self) -> None:
        try:
            await self.round()
        except StoreError as error:
            self.log.debug("{what} waits for the store: {error}", what=self.what, error=error)

    async def round(self) -> None:
        """One round. @raise StoreError: the store cannot answer now."""
        raise NotImplementedError
