"""
The links between nodes: what arrives at one node and belongs to another is passed on.

A link is what an agent has, too: a WebSocket with a session on it, dialled by each node to each other. A
stream on it begins with one box, which says what it carries: a visitor's connection to a tunnel, or an
agent's WebSocket, whose session lives on the other node. Then raw bytes. Or the word that leases changed
(L{burrow.server.announce}), and nothing.

A link that is lost is dialled once more; if nobody answers, its streams are lost, so that visitors can be
served by whichever node their agent went to.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import crypto
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.certificates.selfsigned import self_signed
from burrow.errors import BurrowError, StreamGone, WireError
from burrow.link.accept import AcceptFactory, Handshake, HandshakeRefused
from burrow.link.address import Credentials, ServerAddress
from burrow.link.dial import Dialer
from burrow.link.linked import Linked
from burrow.mux.control import decode_box, encode_box
from burrow.mux.lifeline import Lifeline
from burrow.mux.pipe import PipeEnd
from burrow.mux.session import Session
from burrow.protocols.http import answer_failure
from burrow.protocols.upstream import UpstreamFailed
from burrow.server.announce import LOOK
from burrow.server.cluster import Lease, Node
from burrow.server.edge.pages import AGENT_AWAY
from burrow.server.waiting import Asking

GRACE = 5.0
"""Seconds that a link's streams wait for its next connection."""

REDIAL_TIMEOUT = 2.0
MAX_HOPS = 2
"""Nodes that a visitor's connection is passed on to, at most: leases may change on the way."""

_DIAL_EVERY = 0.5


def make_certificate(host: str) -> tuple[Any, str]:
    """A key and a certificate for one process's links: nobody but the nodes of this store believes it."""
    try:
        subject: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        subject = x509.DNSName(host)
    ca = x509.BasicConstraints(ca=True, path_length=0)
    identity = self_signed("Burrow node", subject, 3650, ca)
    return identity, identity[1].public_bytes(serialization.Encoding.PEM).decode()


def node_context(key: Any, certificate: x509.Certificate) -> Any:
    """What L{make_certificate} returned, for C{listenSSL}."""
    return CertificateOptions(
        privateKey=crypto.PKey.from_cryptography_key(key),
        certificate=crypto.X509.from_cryptography(certificate),
        raiseMinimumTo=TLSVersion.TLSv1_3,
    )


class Link:
    """
    The link to one other node, dialled until it is stopped.

    @ivar session: what streams are opened on; None while there is no connection.
    @ivar retired: whether it ends when its connection does.
    @ivar unreachable: whether the last attempt to connect failed.
    @param on_up: called whenever there is a connection again.
    """

    log = Logger()

    def __init__(self, reactor: Any, own_id: str, node: Node, on_up: Callable[[], None]) -> None:
        self.node = node
        self._reactor = reactor
        self._on_up = on_up
        self._linked: Linked | None = None
        self._stopped = False
        self.retired = False
        self.unreachable = False
        address = ServerAddress(bool(node.certificate), node.host, node.port)
        self._dialer = Dialer(reactor, Credentials(address, node.secret, own_id, ca_pem=node.certificate))
        self._life = ensureDeferred(self._live())
        self._life.addErrback(lambda reason: None if self._stopped else self._failed(reason))

    @property
    def session(self) -> Session | None:
        """See above."""
        linked = self._linked
        return linked.session if linked is not None and linked.attached else None

    def retire(self) -> bool:
        """Dial no more. @return: whether there still is a connection, which stays as long as it does."""
        self.retired = True
        if self.session is None:
            self.stop()
        return not self._stopped

    def stop(self) -> None:
        """End it, and its streams."""
        self._stopped = True
        self._life.cancel()
        if self._linked is not None:
            self._linked.session.abort()

    def _failed(self, reason: Failure) -> None:
        self.log.failure("the link to node {node} failed", reason, node=self.node.id)

    async def _live(self) -> None:
        while not self._stopped:
            linked = self._linked
            if linked is not None and linked.attached:
                await linked.trouble()
                continue
            if self.retired:
                self._lose(linked)
                return
            dialling = Deferred.fromCoroutine(self._dialer.dial(linked))
            try:
                found = await dialling.addTimeout(REDIAL_TIMEOUT, self._reactor)
            except (BurrowError, TimeoutError) as error:
                self.log.debug("node {node} does not answer: {error}", node=self.node.id, error=error)
                self.unreachable = True
                self._lose(linked)
                await deferLater(self._reactor, _DIAL_EVERY)
                continue
            except CancelledError:
                raise  # it was stopped
            except Exception:
                self.log.failure("node {node} cannot be dialled, and is tried again", node=self.node.id)
                self.unreachable = True
                self._lose(linked)
                await deferLater(self._reactor, _DIAL_EVERY)
                continue
            self.unreachable = False
            if found is not linked:
                self._lose(linked)
                self._linked = found
            self._on_up()

    def _lose(self, linked: Linked | None) -> None:
        if linked is not None:
            self._linked = None
            linked.session.abort()


class Relayed:
    """A tunnel that another node holds: what the edge, and a TCP port, need of one."""

    relayed = True

    def __init__(self, lease: Lease, link: Link, session: Session, hops: int) -> None:
        self.lease = lease
        self.session = session
        self._link = link
        self._hops = hops

    @property
    def alive(self) -> bool:
        """Whether the other node can be reached as before."""
        return self._link.session is self.session

    def connect(self, protocol: IProtocol, visitor: str, scheme: str) -> None:
        """Open a stream to the other node for one visitor. @raise StreamGone: it cannot be reached."""
        if not self.alive:
            raise StreamGone("the node that holds the tunnel cannot be reached")
        box = {"what": "visitor", "tunnel": self.lease.name, "visitor": visitor, "scheme": scheme}
        self.session.open_stream(protocol, encode_box({**box, "hops": str(self._hops)}))


Find = Callable[[str, int, Asking], Awaitable[Any]]
"""The tunnel of a name for a visitor that came over so many nodes: something with C{connect}, or None."""


class Relay:
    """
    Both ends of this node's links.

    @param secret: what other nodes must show here.
    @param find: who answers for a visitor that another node passes on.
    @param on_up: called whenever a link has a connection again.
    @param look: looks who holds what now.
    @ivar agents: takes the WebSockets of agents that other nodes pass on. To be set.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        own_id: str,
        secret: str,
        find: Find,
        on_up: Callable[[], None],
        look: Callable[[], Awaitable[None]],
    ) -> None:
        self.agents: AcceptFactory | None = None
        self.find = find
        self.look = look
        self._reactor = reactor
        self._own_id = own_id
        self._secret = secret
        self._on_up = on_up
        self._links: dict[str, Link] = {}
        self._accepted: set[Session] = set()
        self._relayed: dict[tuple[str, int], Relayed] = {}
        self._passed: set[_Passed] = set()
        self.accept = AcceptFactory(
            reactor,
            self._authenticate,
            self._begin,
            lambda identity, handshake: identity,
            GRACE,
            node=own_id,
            max_streams=65_536,
        )

    # -- links that we dial -----------------------------------------------------------------------------

    def update(self, nodes: dict[str, Node], leases: Iterable[Lease] = ()) -> None:
        """
        Have a link to each of these nodes; forget the tunnels that nobody has a lease on. To another node
        there is none, unless it still works: a node that only failed to renew its note keeps what runs.
        """
        for node_id, link in list(self._links.items()):
            if node_id not in nodes and not link.retire():
                del self._links[node_id]
        for node_id, node in nodes.items():
            if node_id not in self._links or self._links[node_id].retired:
                self._links[node_id] = Link(self._reactor, self._own_id, node, self._on_up)
        held = set(leases)
        self._relayed = {
            key: relayed for key, relayed in self._relayed.items() if relayed.alive and relayed.lease in held
        }

    def stop(self) -> None:
        """End all links, those that were dialled to us, too."""
        links, self._links = self._links, {}
        for link in links.values():
            link.stop()
        for session in list(self._accepted):
            session.abort()

    def tunnel(self, lease: Lease, hops: int = 1) -> Relayed | None:
        """The tunnel that another node holds, if that node can be reached now. The same one while it is."""
        link = self._links.get(lease.node)
        session = link.session if link is not None else None
        if link is None or session is None:
            return None
        key = lease.name, hops
        known = self._relayed.get(key)
        if known is None or known.lease != lease or known.session is not session:
            known = self._relayed[key] = Relayed(lease, link, session, hops)
        return known

    def agent_factory(self, node_id: str) -> IProtocolFactory | None:
        """Passes an agent's WebSocket on to the node that has its session; None while that is not linked."""
        link = self._links.get(node_id)
        if link is None or link.session is None:
            return None
        return _Outward(link.session, encode_box({"what": "agent"}), self._passed)

    def may_reach(self, node_id: str) -> bool:
        """Whether a node may be linked soon: nothing says that it cannot be reached."""
        link = self._links.get(node_id)
        return link is not None and not link.unreachable and not link.retired

    def linked(self, node_id: str) -> bool:
        """Whether a node is linked now: it is alive, whatever the store says."""
        link = self._links.get(node_id)
        return link is not None and link.session is not None

    @property
    def sessions(self) -> list[Session]:
        """Those with the nodes that are linked now."""
        sessions = (link.session for link in self._links.values())
        return [session for session in sessions if session is not None]

    @property
    def busy(self) -> bool:
        """Whether streams of other nodes run here: they may be passed on to a third."""
        return any(session.stream_count for session in self._accepted)

    def drop_passed(self) -> None:
        """Cut agents' connections that are passed on: they come back to another node, and go on there."""
        for passed in list(self._passed):
            passed.transport.abortConnection()

    @property
    def running(self) -> bool:
        """
        Whether visitors of other nodes are served here, or agents' connections passed on: on those depends
        what runs there. An agent of another node's that is served here is ended by us.
        """
        served = any(
            isinstance(protocol, _Arrival) for session in self._accepted for protocol in session.protocols
        )
        return served or bool(self._passed)

    # -- links that are dialled to us ----------------------------------------------------------------------

    async def _authenticate(self, handshake: Handshake) -> str:
        if not hmac.compare_digest(handshake.token.encode(), self._secret.encode()):
            raise HandshakeRefused(401, "this port is for the other nodes of this server's store")
        return handshake.agent

    def _begin(self, session: Session, lifeline: Lifeline | None, node: Any, handshake: Handshake) -> None:
        session.factory = _Inward(self)
        self._accepted.add(session)
        session.on_lost = lambda reason: self._accepted.discard(session)


class _Outward(Factory):
    """Puts a connection that came to us on a stream to another node."""

    noisy = False

    def __init__(self, session: Session, box: bytes, passed: set[_Passed]) -> None:
        self._session = session
        self._box = box
        self._passed = passed

    def buildProtocol(self, addr: Any) -> PipeEnd:
        return _Passed(self._session, self._box, self._passed)


class _Passed(PipeEnd):
    """A connection that came to us, and goes on to another node. C{passed}: all of them."""

    def __init__(self, session: Session, box: bytes, passed: set[_Passed]) -> None:
        self._session = session
        self._box = box
        self._passed = passed

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._passed.discard(self)
        super().connectionLost(reason)

    def connectionMade(self) -> None:
        self._passed.add(self)
        super().connectionMade()
        end = PipeEnd()
        try:
            self._session.open_stream(end, self._box)
        except StreamGone:
            self.transport.loseConnection()
            return
        self.join(end)


class _Inward(Factory):
    """Takes the streams that other nodes open."""

    noisy = False

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def buildProtocol(self, addr: Any) -> PipeEnd:
        return _Arrival(self._relay)


class _Arrival(PipeEnd):
    """A stream of another node's, until it is known whom it is for."""

    log = Logger()

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._data = b""
        self._finding: Deferred[None] | None = None

    def connectionMade(self) -> None:
        """Read the box."""

    def dataReceived(self, data: bytes) -> None:
        """More of the box; or what is to be passed on."""
        if self.other is not None:
            super().dataReceived(data)
            return
        self._data += data
        if self._finding is not None:
            return
        try:
            decoded = decode_box(self._data)
        except WireError as error:
            self.log.warn("another node's stream cannot be understood: {error}", error=error)
            self.transport.abortConnection()
            return
        if decoded is None:
            return
        box, self._data = decoded
        if box.get("what") == "agent" and self._relay.agents is not None:
            self.transport.become(self._relay.agents.buildProtocol(self.transport.getPeer()), self._data)
            return
        self.transport.pauseProducing()
        answering = self._look() if box.get("what") == LOOK else self._find(box)
        self._finding = Deferred.fromCoroutine(answering)
        self._finding.addErrback(self._failed)

    async def _look(self) -> None:
        await self._relay.look()
        self.transport.loseConnection()

    async def _find(self, box: dict[str, str]) -> None:
        hops = int(box.get("hops", MAX_HOPS))
        tunnel = await self._relay.find(box.get("tunnel", ""), hops, self.transport)
        if tunnel is None:
            self._refuse(box)
            return
        end = PipeEnd()
        tunnel.connect(end, box.get("visitor", ""), box.get("scheme", ""))
        rest, self._data = self._data, b""
        if rest:
            end.transport.write(rest)
        self.join(end)

    def _refuse(self, box: dict[str, str]) -> None:
        """No tunnel here: say so as an agent does whose upstream is not there."""
        if box.get("scheme") in ("http", "https"):
            answer_failure(self, UpstreamFailed(AGENT_AWAY, "the agent is away"))
        else:
            self.transport.abortConnection()

    def _failed(self, reason: Failure) -> None:
        if reason.check(CancelledError):
            return
        if not reason.check(BurrowError):
            self.log.failure("another node's visitor cannot be served", reason)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The other node gave up."""
        if self._finding is not None and self.other is None:
            self._finding.cancel()
        super().connectionLost(reason)
