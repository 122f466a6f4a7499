"""The server's end of an agent's control channel."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.protocols.amp import RemoteAmpError
from twisted.python.failure import Failure

from burrow.errors import BurrowError, StoreError
from burrow.mux.channel import BoundedAMP
from burrow.mux.control import CloseTunnel, OpenTunnel
from burrow.server.opening import STORE_AWAY

MAX_BOX = 256 * 1024
"""Bytes of a box on the control channel, at most: its keys and values are kept until it is complete."""


class Asked(NamedTuple):
    """The arguments of L{OpenTunnel}."""

    kind: str
    upstream: str
    name: str | None = None
    options: str | None = None
    version: int = 1
    oldest: int = 1


class Commands(Protocol):
    """What answers the commands of a control channel: the L{Agent<burrow.server.agent.Agent>}."""

    async def open(self, asked: Asked) -> dict[str, Any]:
        """Answer L{OpenTunnel}."""

    async def close(self, name: str) -> dict[str, str]:
        """Answer L{CloseTunnel}."""

    def channel_lost(self, violation: str) -> None:
        """The channel ended. @param violation: how the agent violated the protocol on it, or empty."""


def _nonsense(error: Exception) -> str:
    """What is wrong with a box for which AMP raised C{error}."""
    if not isinstance(error, KeyError):
        return "it is neither a command nor an answer"
    if error.args[0] in (amp.ERROR_CODE, amp.ERROR_DESCRIPTION):
        return f"it is an error without {error.args[0].decode()!r}"
    return "it answers a command that was not sent"


class ControlChannel(BoundedAMP):
    """
    The server's end of one agent's control channel: AMP on the agent's first stream.

    The session ends with its control channel. A box that cannot be read, or lacks an argument of its command,
    violates the protocol: it is answered if possible, and the WebSocket is closed with the reason. An unknown
    command is only answered with an error, since newer agents may send one.
    """

    log = Logger()

    def __init__(self, agent: Commands) -> None:
        super().__init__()
        self._agent = agent
        self._violation = ""
        self._unfinished = 0

    # -- what AMP calls ---------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """See L{IProtocol<twisted.internet.interfaces.IProtocol>}."""
        self._unfinished += len(data)
        try:
            super().dataReceived(data)
        except (amp.AmpError, KeyError) as error:
            self._end(f"a box of the control channel cannot be used: {_nonsense(error)}")
        if self._unfinished > MAX_BOX:
            self._end(f"a box of the control channel has more than {MAX_BOX} bytes")

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        """A box is complete."""
        self._unfinished = 0
        if not self._violation:
            super().ampBoxReceived(box)

    def lengthLimitExceeded(self, length: int) -> None:
        """A key is longer than AMP allows, so these are not AMP boxes."""
        self._end(f"the control channel does not carry AMP boxes: a key has {length} bytes")

    def locateResponder(self, name: bytes) -> Any:
        """The function that answers a command."""
        return partial(self._answer, name, super().locateResponder(name))

    def unhandledError(self, failure: Failure) -> None:
        """A command failed, and its sender wants no answer or cannot be answered."""
        if self._violation:
            self._end(self._violation)
        elif failure.check(RemoteAmpError):
            super().unhandledError(failure)
        else:
            self.log.failure("cannot answer an agent's command; its session is closed", failure)
            self._end("the server cannot answer a command; its log says why")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The stream ended, so the session ends too."""
        super().connectionLost(reason)
        self._agent.channel_lost(self._violation)

    def _answer(self, name: bytes, responder: Any, box: amp.AmpBox) -> Any:
        try:
            answering = responder(box)
        except (KeyError, ValueError) as error:  # from parsing the box: the command has not run yet
            if isinstance(error, KeyError):
                problem = f"it lacks {error.args[0].decode()!r}"
            else:
                problem = "one of its values is not UTF-8"
            self._violation = f"a box with the command {name.decode()} cannot be used: {problem}"
            raise RemoteAmpError(b"BAD_BOX", self._violation, fatal=True) from error
        answering.addErrback(self._not_answered)
        return answering

    def _not_answered(self, reason: Failure) -> Failure:
        if reason.check(RemoteAmpError):
            return reason
        if reason.check(StoreError):
            # Its text may name files and machines of the server, so the agent does not get it.
            self.log.error("cannot execute an agent's command; it tries again: {error}", error=reason.value)
            text = STORE_AWAY
        elif reason.check(BurrowError):
            text = reason.getErrorMessage()
        else:
            self.log.failure("an agent's command failed", reason)
            text = "the server failed; its log says why"
        return Failure(RemoteAmpError(b"UNAVAILABLE", text))

    def _end(self, why: str) -> None:
        self._violation = self._violation or why
        if self.transport is not None:
            self.transport.loseConnection()

    # -- commands ---------------------------------------------------------------------------------------

    @OpenTunnel.responder
    def open_tunnel(self, **arguments: Any) -> Deferred[dict[str, Any]]:
        """See L{OpenTunnel}."""
        given = {key: value for key, value in arguments.items() if value is not None}
        return Deferred.fromCoroutine(self._agent.open(Asked(**given)))

    @CloseTunnel.responder
    def close_tunnel(self, tunnel: str) -> Deferred[dict[str, str]]:
        """See L{CloseTunnel}."""
        return Deferred.fromCoroutine(self._agent.close(tunnel))
