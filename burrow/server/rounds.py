"""Regular work of a node that needs the store; if the store cannot answer, the next round does it."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from burrow.errors import StoreError
from burrow.repeat import repeating


class Rounds:
    """
    Base class: a subclass implements L{round}.

    @cvar every: seconds between two rounds. @cvar what: a name of the work, for the log.
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
        """Begin no more rounds."""
        if self._loop.running:
            self._loop.stop()

    async def _try(self) -> None:
        try:
            await self.round()
        except StoreError as error:
            self.log.debug(
                "{what} failed, the next round tries it again: {error}", what=self.what, error=error
            )

    async def round(self) -> None:
        """One round. @raise StoreError: the store cannot answer now."""
        raise NotImplementedError
