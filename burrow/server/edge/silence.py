"""How long one stream among others of a connection has been silent, which no socket tells."""

from __future__ import annotations

from collections.abc import Callable

from burrow.sockets import QUIET


class Silence:
    """
    What has passed is compared from look to look, so that nothing is noted while bytes pass.

    @param now: returns the time in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._passed = -1
        self._since = 0.0

    def lasts(self, passed: int) -> bool:
        """
        Whether nothing has passed for L{QUIET} seconds, as far as was looked.

        @param passed: bytes that were sent so far. What the visitor sends is for its caller to know.
        """
        if passed != self._passed:
            self._passed, self._since = passed, self._now()
            return False
        return self._now() - self._since >= QUIET
