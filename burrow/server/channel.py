"""The server's end of an agent's control channel."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

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
"""Bytes of a box on the control channel, at most: its keys and values are kept until it is whole."""


class Commands(Protocol):
    """Who answers what comes on a control channel: the agent that it is the channel of."""

    async def open(self, kind: str, upstream: str, name: str | None, options: str | None) -> dict[str, str]:
        """Answer L{OpenTunnel}."""

    async def close(self, name: str) -> dict[str, str]:
        """Answer L{CloseTunnel}."""

    def channel_lost(self, broken: str) -> None:
        """The channel ended; C{broken} says how the agent broke the protocol on it, if it did."""


def _nonsense(error: Exception) -> str:
    """What is wrong with a box that AMP stumbled over."""
    if not isinstance(error, KeyError):
        return "it is neither a command nor an answer"
    if error.args[0] in (amp.ERROR_CODE, amp.ERROR_DESCRIPTION):
        return f"it is an error without {error.args[0].decode()!r}"
    return "it answers what was not asked"


class ControlChannel(BoundedAMP):
    """
    The server's end of one agent's control channel: AMP on the agent's first stream.

    The session ends with it: nothing can be asked or told without it. A box that cannot be read, or that
    lacks what its command needs, breaks the protocol: it is answered where it can be, and the WebSocket's
    close says why. A command that we do not know is only answered, since it may be a newer agent's.
    """

    log = Logger()

    def __init__(self, agent: Commands) -> None:
        super().__init__()
        self._agent = agent
        self._broken = ""
        self._unfinished = 0

    # -- what AMP calls ---------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the agent's."""
        self._unfinished += len(data)
        try:
            super().dataReceived(data)
        except (amp.AmpError, KeyError) as error:
            self._break(f"a box of the control channel makes no sense: {_nonsense(error)}")
        if self._unfinished > MAX_BOX:
            self._break(f"a box of the control channel has more than {MAX_BOX} bytes")

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        """A box is whole."""
        self._unfinished = 0
        if not self._broken:
            super().ampBoxReceived(box)

    def lengthLimitExceeded(self, length: int) -> None:
        """A key's length is impossible: these are no boxes."""
        self._break(f"the control channel has no AMP boxes: a key has {length} bytes")

    def locateResponder(self, name: bytes) -> Any:
        """What answers a command."""
        return partial(self._answer, name, super().locateResponder(name))

    def unhandledError(self, failure: Failure) -> None:
        """A command failed whose sender wants no answer, or could not be answered."""
        if self._broken:
            self._break(self._broken)
        elif failure.check(RemoteAmpError):
            super().unhandledError(failure)
        else:
            self.log.failure("an agent's command cannot be answered", failure)
            self._break("the server cannot answer a command; its log says why")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The stream ended, by whomever: so does the session."""
        super().connectionLost(reason)
        self._agent.channel_lost(self._broken)

    def _answer(self, name: bytes, responder: Any, box: amp.AmpBox) -> Any:
        try:
            answering = responder(box)
        except (KeyError, ValueError) as error:  # of the box: what the command itself raises comes later
            if isinstance(error, KeyError):
                problem = f"it lacks {error.args[0].decode()!r}"
            else:
                problem = "a value of it is not UTF-8"
            self._broken = f"a box with the command {name.decode()} cannot be used: {problem}"
            raise RemoteAmpError(b"BAD_BOX", self._broken, fatal=True) from error
        answering.addErrback(self._not_answered)
        return answering

    def _not_answered(self, reason: Failure) -> Failure:
        if reason.check(RemoteAmpError):
            return reason
        if reason.check(StoreError):
            # Its text is for the server's owner: it may name files and machines.
            self.log.error("an agent's command waits for the store: {error}", error=reason.value)
            text = STORE_AWAY
        elif reason.check(BurrowError):
            text = reason.getErrorMessage()
        else:
            self.log.failure("an agent's command failed", reason)
            text = "the server failed; its log says how"
        return Failure(RemoteAmpError(b"UNAVAILABLE", text))

    def _break(self, why: str) -> None:
        self._broken = self._broken or why
        if self.transport is not None:
            self.transport.loseConnection()

    # -- commands ---------------------------------------------------------------------------------------

    @OpenTunnel.responder
    def open_tunnel(
        self, kind: str, upstream: str, name: str | None = None, options: str | None = None
    ) -> Deferred[dict[str, str]]:
        """See L{OpenTunnel}."""
        return Deferred.fromCoroutine(self._agent.open(kind, upstream, name, options))

    @CloseTunnel.responder
    def close_tunnel(self, tunnel: str) -> Deferred[dict[str, str]]:
        """See L{CloseTunnel}."""
        return Deferred.fromCoroutine(self._agent.close(tunnel))
