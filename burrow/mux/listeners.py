"""Any number of listeners for one event. One that raises keeps the event from no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.logger import Logger

T = TypeVar("T")

_log = Logger()


class Listeners(list[Callable[[T], None]]):
    """Callables with one argument, called in the order in which they were appended."""

    __slots__ = ()

    def tell(self, what: T) -> None:
        """Call each with C{what}. One that raises is logged."""
        for listener in tuple(self):
            try:
                listener(what)
            except Exception:
                _log.failure("{listener} failed as a listener", listener=listener)
