"""One stream of a connection as the server has it: its state and its windows (RFC 9113 sections 5.1, 5.2)."""

from __future__ import annotations

from burrow.http.http2_server.frames import MOST


class Granting:
    """
    A window that the peer may fill, and what of it can be given back.

    What is used is told to the peer once it is half of the window, or 1 KiB if the peer may send no more: so
    one WINDOW_UPDATE goes with many frames, and the peer is never kept waiting for ever.

    @ivar open: bytes that the peer may send still.
    """

    __slots__ = ("_size", "_used", "open")

    def __init__(self, size: int) -> None:
        self.open = self._size = size
        self._used = 0

    def use(self, size: int) -> int:
        """Bytes that came are used. @return: by how much to open the window now; it is counted as opened."""
        self._used = used = self._used + size
        if used * 2 < self._size and (self.open > 0 or used <= min(1024, self._size // 4)):
            return 0
        self._used = 0
        self.open += used
        return used


class Stream(Granting):
    """
    A stream that is open or half-closed. One that is closed is nowhere.

    @ivar window: bytes that the peer takes; it may have made that less than nothing (RFC 9113 section 6.9.2).
    @ivar receives: whether the peer may send still: the stream is open, or half-closed (local).
    @ivar sends: whether we may: it is open, or half-closed (remote).
    """

    __slots__ = ("id", "receives", "sends", "window")

    def __init__(self, id: int, window: int, size: int, receives: bool) -> None:
        self.open = self._size = size
        self._used = 0
        self.id = id
        self.window = window
        self.receives = receives
        self.sends = True


def widened(window: int, size: int) -> int | None:
    """A window that is opened further; None if it would be larger than any may be."""
    return window + size if window + size <= MOST else None
