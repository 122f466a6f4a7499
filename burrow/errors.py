"""
What can go wrong, each with whose fault it is and a sentence that says what to do.

Each class has the exit code of a command that ends by it. Errors that cross the wire (NameTaken,
NotAllowed...) are declared with the control channel, in L{burrow.mux.control}, and derive from L{Refused}.
"""

from __future__ import annotations


class BurrowError(Exception):
    """
    The base of all errors of ours. Its text is meant for the person who reads the screen.

    @ivar told: whether the person knows already.
    """

    exit_code = 1
    told = False


class WireError(BurrowError):
    """The peer broke the protocol: its connection ends, no other is touched."""


class StreamGone(BurrowError):
    """The stream, or the session under it, is not there any more."""


class ConfigError(BurrowError):
    """What the person asked for cannot be done as asked."""

    exit_code = 78


class ServerUnreachable(BurrowError):
    """Nobody answers at the server's address, or not as a Burrow server. Trying again may help."""

    exit_code = 69


class Refused(BurrowError):
    """The server understood and says no; asking again changes nothing."""

    exit_code = 77


class StoreError(BurrowError):
    """The store cannot answer, or will not: its text says why."""

    exit_code = 69
