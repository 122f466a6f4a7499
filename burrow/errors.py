"""
The errors of Burrow: each class says whose fault it is and which exit code a command has that ends with it;
each text says what to do.

The subclasses of L{Refused} are the answers that a server gives to its agents. L{burrow.mux.control} encodes
them; code that raises or catches them needs this module alone.
"""

from __future__ import annotations


class BurrowError(Exception):
    """
    Base of all errors of Burrow. Its text is written for the person at the terminal.

    @ivar told: whether that text was printed already; a command that ends with the error prints it once.
    """

    exit_code = 1
    told = False


class WireError(BurrowError):
    """The peer violated the protocol. Its connection is closed; other connections are not affected."""


class StreamGone(BurrowError):
    """The stream, or the session that carries it, has ended."""


class ConfigError(BurrowError):
    """An option, an argument or a configuration file asks for something that is not possible."""

    exit_code = 78


class UsageError(ConfigError):
    """A command has an argument too few or too many, or two that do not go together."""

    exit_code = 2


class ServerUnreachable(BurrowError):
    """Nothing answers at the server's address, or it is no Burrow server. A later attempt may succeed."""

    exit_code = 69


class StoreError(BurrowError):
    """The store cannot be reached, or refuses an operation; the text gives the reason."""

    exit_code = 69


class Refused(BurrowError):
    """The server understood the request and refuses it. The same request will be refused again."""

    exit_code = 77


class NameTaken(Refused):
    """Another token owns the name or the port."""


class NotAllowed(Refused):
    """The token does not have the right to do this."""


class CertificateFailed(Refused):
    """
    No certificate could be obtained for the name, so the tunnel was not opened.

    @ivar final: whether no other CA is to be asked, because it would refuse for the same reason, or because
        the first one may still issue.
    @ivar spent: whether a CA may have issued all the same: what was counted for the order stays counted.
    """

    def __init__(self, text: str = "", *, final: bool = False, spent: bool = False) -> None:
        super().__init__(text)
        self.final = final
        self.spent = spent


class UnknownProtocol(Refused):
    """The server has no tunnel kind of that name."""


class TooManyTunnels(Refused):
    """The agent, or its token, has reached its limit of tunnels, names or ports."""


class BadOption(Refused):
    """The name, the port or another option of the tunnel is not valid."""


class Unavailable(Refused):
    """The server cannot answer now, because its store is not available. A later attempt may succeed."""

    exit_code = 69


class NoSuchTunnel(Refused):
    """The agent has no tunnel of that name."""
