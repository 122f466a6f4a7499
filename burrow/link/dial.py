"""The agent's side of a link: connects to a server, sends its token, and begins or resumes a session."""

from __future__ import annotations

import socket
from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from autobahn.websocket.types import ConnectingRequest, ConnectionResponse
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow import __version__
from burrow.addresses import bracketed
from burrow.clock import cancel
from burrow.errors import BurrowError, ServerUnreachable, WireError
from burrow.link import (
    AGENT_HEADER,
    AGENT_PATH,
    INSPECTOR_HEADER,
    PLAIN,
    RECEIVED_HEADER,
    RESUME,
    SESSION_HEADER,
    TOKEN_HEADER,
    VERSION_HEADER,
    count_of,
)
from burrow.link.address import Credentials
from burrow.link.carrier import PROTOCOL_OPTIONS, CarrierProtocol
from burrow.link.endpoint import CONNECT_TIMEOUT, server_endpoint
from burrow.link.linked import Linked
from burrow.link.reasons import closed, distrust, explain, refusal
from burrow.link.timers import DropsInTime, Timers
from burrow.mux.heartbeat import Heartbeat
from burrow.mux.interfaces import CloseCode
from burrow.mux.lifeline import Lifeline
from burrow.mux.session import Session

_MAX_REFUSAL = 16 * 1024

_MAX_SHOWN = 64
"""Characters of what the server says of itself, at most."""


class DialProtocol(DropsInTime, CarrierProtocol, WebSocketClientProtocol):  # type: ignore[misc]
    """The agent's WebSocket."""

    factory: DialFactory
    masks = True
    data: bytes
    refusal: BurrowError | None = None
    _heartbeat: Heartbeat | None = None

    def onConnecting(self, transport_details: object) -> ConnectingRequest:
        """The handshake's request. Autobahn's own has no brackets around IPv6 addresses."""
        credentials = self.factory.credentials
        host = credentials.address.host
        more = {}
        previous = self.factory.previous
        if previous is not None and (lifeline := previous.resumable) is not None:
            more = {SESSION_HEADER: previous.session_id, RECEIVED_HEADER: str(lifeline.received)}
        if self.factory.inspector:
            more[INSPECTOR_HEADER] = str(self.factory.inspector)
        return ConnectingRequest(
            host=bracketed(host),
            port=credentials.address.port,
            resource=AGENT_PATH,
            headers={
                "Authorization": f"Bearer {credentials.token}",
                AGENT_HEADER: credentials.agent,
                VERSION_HEADER: __version__,
                **more,
            },
            useragent=f"burrow/{__version__}",
            protocols=[RESUME, PLAIN],
        )

    def processHandshake(self) -> None:
        """Bytes of the server's answer came. Autobahn understands only the status 101."""
        head, end, body = self.data.partition(b"\r\n\r\n")
        if not end and len(head) < _MAX_REFUSAL:
            return
        status, fields = _parse_head(head)
        if status == 101:
            super().processHandshake()
            return
        length = count_of(fields.get("content-length", "")) or 0
        if len(body) < min(length, _MAX_REFUSAL):
            return
        self.refusal = refusal(self.factory.credentials.address, status, fields, body)
        self.dropConnection(abort=True)

    def onConnect(self, response: ConnectionResponse) -> None:
        """The server accepted the handshake; these are its headers."""
        self._subprotocol = response.protocol
        self._session_id = response.headers.get(SESSION_HEADER.lower(), "")
        self._peer_received = count_of(response.headers.get(RECEIVED_HEADER.lower(), "")) or 0
        self._server_version = response.headers.get(VERSION_HEADER.lower(), "")[:_MAX_SHOWN]
        self._token_name = response.headers.get(TOKEN_HEADER.lower(), "")[:_MAX_SHOWN]

    def onOpen(self) -> None:
        """The handshake is done: begin a session, or resume the previous one."""
        try:
            linked = self._resumed() or self._begun()
        except WireError as error:
            self._fail(ServerUnreachable(f"the session cannot be resumed: {error}"))
            self.user = None
            self.abort()
            return
        linked.server_version, linked.token_name = self._server_version, self._token_name
        self._network = _local_address(self.transport.getPeer())

        def check() -> None:
            if linked.lifeline is not None:
                linked.lifeline.check()
            address = _local_address(self.transport.getPeer())
            if address != self._network:
                self._network = address
                linked.report_trouble()

        self._heartbeat = Heartbeat(
            self.factory.reactor,
            linked.session,
            self.abort,
            on_suspect=linked.report_trouble,
            on_check=check,
            sparing=True,
        )
        self._heartbeat.start()
        waiting, self.factory.waiting = self.factory.waiting, None
        if waiting is not None:
            waiting.callback(linked)

    def _resumed(self) -> Linked | None:
        previous = self.factory.previous
        if previous is None or (lifeline := previous.resumable) is None:
            return None
        if previous.session_id != self._session_id or self._subprotocol != RESUME:
            return None
        self.carry(lifeline, self._peer_received)
        return previous

    def _begun(self) -> Linked:
        session = Session(self.factory.reactor, client=True)
        lifeline = Lifeline(self.factory.reactor, session) if self._subprotocol == RESUME else None
        self.carry(lifeline or session)
        return Linked(session, lifeline, self._session_id)

    def _fail(self, error: BurrowError) -> None:
        waiting, self.factory.waiting = self.factory.waiting, None
        if waiting is not None:
            waiting.errback(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone. Autobahn keeps no reason of TLS's, so that one is told here."""
        error = distrust(str(reason.value), self.factory.credentials.address)
        if error is not None:
            self._fail(error)
        super().connectionLost(reason)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The WebSocket is closed, or the handshake failed."""
        address = self.factory.credentials.address
        self._fail(self.refusal or closed(address, reason or ""))
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if code == CloseCode.RESTART:
            reason = "the server restarts"
        super().onClose(wasClean, code, reason)


def _local_address(peer: Any) -> str | None:
    """
    The local address of packets to C{peer}. When it changes, the network has changed. Nothing is sent:
    connecting a datagram socket only chooses the route.
    """
    host = getattr(peer, "host", None)
    if host is None:
        return None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))
            address: str = probe.getsockname()[0]
            return address
    except OSError:
        return None


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    status = count_of(first.partition(" ")[2].partition(" ")[0]) or 0
    pairs = (line.partition(":") for line in lines)
    return status, {name.strip().lower(): value.strip() for name, _, value in pairs}


class DialFactory(WebSocketClientFactory):  # type: ignore[misc]
    """
    Builds one agent's WebSocket.

    @param previous: the session to resume, if the server still has it.
    @ivar inspector: see L{Dialer}.
    @ivar waiting: fires with a L{Linked} once there is a session; fails with a L{BurrowError} if there is
        none.
    """

    protocol = DialProtocol
    noisy = False

    inspector = 0

    def __init__(self, reactor: Any, credentials: Credentials, previous: Linked | None) -> None:
        url = f"ws://{credentials.address.authority}{AGENT_PATH}"
        super().__init__(url=url, protocols=[RESUME, PLAIN], reactor=reactor)
        self.reactor = reactor
        self.credentials = credentials
        self.previous = previous
        self.waiting: Deferred[Linked] | None = Deferred()
        self._batched_timer = Timers(reactor)
        # Masks stay on; over TLS they are zero: see L{BinaryMessages}.
        self.setProtocolOptions(**PROTOCOL_OPTIONS, serverConnectionDropTimeout=0)


class Dialer:
    """
    Connects one agent to its server, any number of times. The TLS options are made once.

    @ivar inspector: the port of its inspector, which the server is told; 0 for none.
    """

    log = Logger()
    inspector = 0

    def __init__(self, reactor: Any, credentials: Credentials) -> None:
        self._reactor = reactor
        self.credentials = credentials
        self._endpoint = server_endpoint(reactor, credentials)

    async def dial(self, previous: Linked | None = None) -> Linked:
        """
        Try once to connect.

        @param previous: a session to resume, if the server still has it.
        @return: C{previous}, or a new session; either has a connection, and its heartbeat runs.
        @raise ServerUnreachable: trying again may help. @raise Refused: it does not.
        """
        factory = DialFactory(self._reactor, self.credentials, previous)
        factory.inspector = self.inspector
        waiting = factory.waiting
        assert waiting is not None
        address = self.credentials.address
        try:
            protocol: Any = await self._endpoint.connect(factory)
        except ConnectingCancelledError as error:
            raise CancelledError from error  # what addTimeout and whoever cancels expect
        except (ConnectError, DNSLookupError) as error:
            raise explain(error, address) from error
        timeout = self._reactor.callLater(CONNECT_TIMEOUT + 1, protocol.transport.abortConnection)
        try:
            return await waiting
        except CancelledError:
            protocol.transport.abortConnection()  # else a session would begin that no agent uses
            raise
        finally:
            cancel(timeout)
