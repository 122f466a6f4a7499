"""AMP with bounds: a peer that sends commands and reads no answers cannot make this process keep them all."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure
from zope.interface import implementer

MAX_COMMANDS = 64
"""Commands of one side that are being answered, at most, and those that came in one piece with the last."""


@implementer(IPushProducer)
class BoundedAMP(amp.AMP):
    """
    AMP that stops reading while L{MAX_COMMANDS} of the peer's commands are being answered, or while its
    transport has too much to send. To learn of the latter, it is the transport's producer while it sends.
    """

    log = Logger()
    transport: Any
    _logged = False
    _answering = 0
    _registered = False
    _sending_paused = False

    @property
    def congested(self) -> bool:
        """Whether the peer does not read our commands, or does not answer them: send only what is needed."""
        return self._sending_paused or len(self._outstandingRequests) >= MAX_COMMANDS

    def dispatchCommand(self, box: amp.AmpBox) -> Deferred[amp.AmpBox]:
        """A command of the peer's."""
        self._answering += 1
        self._read_or_not()
        answering: Deferred[amp.AmpBox] = super().dispatchCommand(box)
        return answering.addBoth(self._answered)

    def locateResponder(self, name: bytes) -> Any:
        """The responder of a command. An unknown one, as of a newer peer, is answered with an error."""
        responder = amp.CommandLocator.locateResponder(self, name)  # the other way there takes ASCII only
        return responder or partial(self._unknown, name)

    def unhandledError(self, failure: Failure) -> None:
        """
        A command failed whose sender wants no answer; AMP would close the connection. Only the first one is
        logged, since a peer can send any number.
        """
        error = failure.value
        if not isinstance(error, amp.RemoteAmpError):
            super().unhandledError(failure)
        elif not self._logged:
            self._logged = True
            text = error.description
            self.log.info("a command that wants no answer was refused: {text}", text=text)

    def sendBox(self, box: amp.AmpBox) -> None:
        """Send a command or an answer."""
        transport: Any = self.transport
        if transport is None or self._registered:
            super().sendBox(box)
            return
        self._registered = True
        transport.registerProducer(self, True)
        try:
            super().sendBox(box)
        finally:
            if not self._sending_paused:
                self._unregister()

    # -- IPushProducer: what the transport calls ---------------------------------------------------------

    def pauseProducing(self) -> None:
        """Too much waits to be sent."""
        self._sending_paused = True
        self._read_or_not()

    def resumeProducing(self) -> None:
        """Enough of it was sent."""
        self._sending_paused = False
        self._unregister()
        self._read_or_not()

    def stopProducing(self) -> None:
        """The transport is closed; connectionLost follows."""

    # -- inside ------------------------------------------------------------------------------------------

    def _unknown(self, name: bytes, box: amp.AmpBox) -> Any:
        text = name[:40].decode("utf-8", "replace")
        raise amp.RemoteAmpError(amp.UNHANDLED_ERROR_CODE, f"there is no command {text!r} here")

    def _answered(self, result: Any) -> Any:
        self._answering -= 1
        self._read_or_not()
        return result

    def _unregister(self) -> None:
        self._registered = False
        if self.transport is not None:
            self.transport.unregisterProducer()

    def _read_or_not(self) -> None:
        if self.transport is None:
            return
        if self._sending_paused or self._answering >= MAX_COMMANDS:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()
