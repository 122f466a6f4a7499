"""Who is told what a client sends on its connection."""

from __future__ import annotations

from typing import Any

from zope.interface import Interface

from burrow.http.headers import Fields
from burrow.http.http2_server.streams import Stream


class IListener(Interface):
    """
    Who is told what comes, while it is read. It may send, and may end streams and the connection, in each
    call; once the connection is closed nothing more is told.
    """

    def request(stream: Stream, meaning: Any, ended: bool) -> None:
        """A stream is opened. C{meaning}: of its head: see L{Mean}. C{ended}: whether no body follows."""

    def data(id: int, data: bytes, size: int, ended: bool) -> None:
        """
        Some of a body. C{size}: bytes of the windows, with the padding, which L{Http2Server.used} gives back.
        C{ended}: whether it is the last.
        """

    def trailers(id: int, fields: Fields) -> None:
        """The fields behind a body, and its end."""

    def reset(id: int) -> None:
        """The peer has reset a stream."""

    def broken(id: int) -> None:
        """A stream was reset for what the peer did; it may never have been told as opened."""

    def widened() -> None:
        """A window is open further, of a stream or of the connection."""

    def answered(size: int) -> None:
        """
        The peer sent what has to be answered, and is: PING or SETTINGS, which may have opened windows.
        C{size}: bytes of it.
        """

    def nothing() -> None:
        """A frame came that brings nothing."""

    def leaves(code: int) -> None:
        """The peer opens no more streams (GOAWAY); what is under way goes on."""
