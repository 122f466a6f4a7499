"""
What the server keeps of an open WebSocket of Autobahn's.

Autobahn gives each protocol 100 attributes: the options of its factory, all that the handshake said, and
states in which hardly any WebSocket ever is. The dict of so many takes 3.3 KB, what the handshake said 4 KB,
and a server has thousands of them that are idle. So what they have alike is an attribute of their class, and
what was for the handshake is forgotten once it is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from autobahn.websocket.protocol import TrafficStats
from autobahn.websocket.utf8validator import Utf8Validator

_P = TypeVar("_P")

_FOR_THE_HANDSHAKE = frozenset(
    {
        *("http_headers", "http_request_data", "http_request_host", "http_request_params"),
        *("http_request_path", "http_request_uri", "http_response_data", "http_status_line"),
        *("websocket_extensions", "websocket_origin", "websocket_protocols", "_wskey"),
        *("websocket_extensions_in_use", "websocket_protocol_in_use"),
        *("_transport_details", "_results", "_valid_events", "is_open"),
        *("send_queue", "trafficStats", "utf8validator"),
    }
)
"""
Attributes of Autobahn's that nothing asks for later, or that L{Lean} has one of for all: queues and
validators that Burrow does not use, and numbers that it does not read.
"""


class Lean:
    """
    Mixed into Autobahn's protocol classes, before them: the values that nearly all open WebSockets have of
    its attributes.
    """

    closedByMe = failedByMe = droppedByMe = wasClean = triggered = False
    wasMaxFramePayloadSizeExceeded = wasMaxMessagePayloadSizeExceeded = False
    wasServerConnectionDropTimeout = wasOpenHandshakeTimeout = wasCloseHandshakeTimeout = False
    wasServingFlashSocketPolicyFile = inside_message = False
    localCloseCode = localCloseReason = remoteCloseCode = remoteCloseReason = wasNotCleanReason = None
    openHandshakeTimeoutCall = closeHandshakeTimeoutCall = None
    autoPingTimeoutCall = autoPingPending = autoPingPendingCall = autoPingPendingSent = None
    autoPingPendingSeq = 0
    trackedTimings = current_frame = _perMessageCompress = None
    send_queue: Sequence[Any] = ()
    trafficStats: Any = TrafficStats()
    utf8validator: Any = Utf8Validator()
    _results = _valid_events = None

    def keep_little(self, *forgotten: str) -> None:
        """
        The handshake is done. An attribute that is no longer here is its class's, which is the same object.

        @param forgotten: more attributes that were for the handshake.
        """
        alike = type(self)
        self.__dict__ = {
            name: value
            for name, value in vars(self).items()
            if name not in _FOR_THE_HANDSHAKE
            and name not in forgotten
            and (callable(value) or getattr(alike, name, _MISSING) is not value)
        }


_MISSING = object()


def with_options(protocol: type[_P], factory: Any) -> type[_P]:
    """
    A class of C{protocol}'s that has the options of its Autobahn factory, which Autobahn else copies to each
    instance. Functions stay with the instances: of a class they would be methods.
    """
    options = {name: vars(factory)[name] for name in protocol.CONFIG_ATTRS}  # type: ignore[attr-defined]
    alike = {name: value for name, value in options.items() if not callable(value)}
    return type(protocol.__name__, (protocol,), {**alike, "__module__": protocol.__module__})
