"""The server as one service: its parts, put together, started and stopped in order."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from secrets import token_hex, token_urlsafe
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IProtocolFactory
from twisted.internet.task import deferLater
from twisted.logger import Logger

from burrow import __version__
from burrow.certificates.files import FileCertificates
from burrow.certificates.local import LocalCertificates
from burrow.config import ServerConfig, split_listen
from burrow.errors import ConfigError, StoreError
from burrow.link import SESSION_HEADER
from burrow.link.accept import AcceptFactory, node_of
from burrow.link.carrier import CLOSE_RESTART
from burrow.protocols.base import Reach
from burrow.protocols.registry import kinds
from burrow.server.agents import Agents
from burrow.server.counting import AddressLimit, release
from burrow.server.edge import pages
from burrow.server.edge.context import Edge
from burrow.server.edge.forwarded import Forwarding
from burrow.server.edge.front import PlainFrontFactory
from burrow.server.edge.head import RequestHead
from burrow.server.edge.http1 import VisitorFactory
from burrow.server.edge.pace import Rate
from burrow.server.edge.sweep import Sweep
from burrow.server.edge.tls import TLSFrontFactory
from burrow.server.events import Events
from burrow.server.finishing import LOOK_EVERY, Finishing
from burrow.server.listening import Listeners, TcpSockets, stop_listening, wait_when_exhausted
from burrow.server.nodes.announce import Announcer
from burrow.server.nodes.arrivals import Arrivals
from burrow.server.nodes.boxes import MAX_HOPS
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.link import make_certificate, node_context
from burrow.server.nodes.links import Links, Remote
from burrow.server.nodes.neighbours import Neighbours
from burrow.server.nodes.ports import RemotePorts
from burrow.server.nodes.records import Lease, Node
from burrow.server.ports import Ports, outgoing_warning
from burrow.server.released import NameWatch
from burrow.server.site import Site
from burrow.server.tunnels import EXPECT_FOR, Tunnel, Tunnels
from burrow.server.upkeep import Upkeep
from burrow.server.waiting import Asking
from burrow.store.memory import MemoryStore
from burrow.store.spaces import DAY
from burrow.store.sqlite import SQLiteStore
from burrow.wording import count_of

_PSEUDONYM = ("server", "via")
"""The note of L{Forwarding}'s pseudonym."""

DATABASE, REDIS_MARK = "burrow.db", "redis-epoch"
LEAVE_WITHIN = 10.0
"""Seconds that agents have to go to other nodes when this one stops."""


def open_store(
    reactor: Any,
    config: ServerConfig,
    alone: Callable[[], bool] | None = None,
    lost: Callable[[str], None] = lambda name: None,
) -> Any:
    """
    The store that a configuration names; not opened yet.

    @param alone: for a server, which goes on while its store is away: whether it knows of no other.
    @param lost: see L{KnownStore<burrow.store.known.KnownStore>}.
    """
    if config.store == "memory":
        return MemoryStore()
    if config.store:
        # Imported when it is needed: txredisapi takes a while, and most servers have no Redis.
        from burrow.store.connection import RedisAddress
        from burrow.store.known import KnownStore
        from burrow.store.redis import RedisStore

        address = RedisAddress.parse(config.store)
        if alone and address.in_clear:
            Logger().warn(
                "Redis at {host} is reached without TLS: whoever sees the network reads passwords, secrets "
                "of nodes and, without --store-key, private keys; use rediss://, or a network of your own",
                host=address.in_clear,
            )
        redis = RedisStore(reactor, address)
        return KnownStore(reactor, redis, config.state_dir / REDIS_MARK, alone, lost) if alone else redis
    return SQLiteStore(reactor, config.state_dir / DATABASE)


class BurrowServer(MultiService):
    """
    A Burrow server.

    @param store: an L{IStore<burrow.store.base.IStore>}, not opened; by default what the configuration names.
    @param inherited: see L{Listeners}. @param tcp_sockets: opens the public TCP ports.
    @param group: what is replaced and stopped together with this process.
    @ivar ready: fires with the server once it listens, or fails with why it does not.
    @raise ConfigError: the configuration contradicts itself.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: ServerConfig,
        store: Any = None,
        *,
        inherited: Mapping[str, Sequence[int]] | None = None,
        tcp_sockets: TcpSockets | None = None,
        group: str = "",
    ) -> None:
        super().__init__()
        config.check()
        self.config = config
        if store is None:
            store = open_store(
                reactor,
                config,
                alone=lambda: not self.cluster.others,
                lost=lambda name: self._names.lost(name),
            )
        self.store = store
        self.ready: Deferred[BurrowServer] = Deferred()
        self._reactor = reactor
        limit = AddressLimit(
            reactor, config.max_connections_per_address, config.uncounted_address + config.trusted_proxy
        )
        self._listeners = Listeners(reactor, inherited or {}, limit.guard)
        self._node_port: IListeningPort | None = None
        self._closing_unused: IDelayedCall | None = None
        self.site = Site(config, self._whose_agent)
        self._sweep = Sweep(reactor)
        listen = config.https_listen or config.http_listen
        self._tcp_sockets = tcp_sockets or TcpSockets(reactor)
        self._ports = Ports(self._tcp_sockets, split_listen(listen)[0], config.port_range, limit.guard)
        self._node = token_hex(6)
        self._group = group or self._node
        self._node_secret = token_urlsafe(32)
        self.cluster = Cluster(reactor, self.store, self._node)
        self.events = Events(reactor, self.store, self._node)
        self.certificates = self._make_certificates()
        self._links = Links(reactor, self._node)
        self._links.on_up.append(lambda: self.tunnels.look())
        self._kinds = kinds()
        self._neighbours = Neighbours(
            reactor, self.cluster, group, config.domain, self._ports.served, limit.guard
        )
        self._elsewhere = RemotePorts(
            reactor, self._kinds, self._ports, self.cluster, self._found, self._neighbours.hand_port
        )
        self.tunnels = Tunnels(
            clock=reactor,
            store=self.store,
            kinds=self._kinds,
            ports=self._ports,
            domain=config.domain,
            url=self.site.url,
            ready=self._certificate_ready,
            max_tunnels=config.max_tunnels,
            cluster=self.cluster,
            events=self.events,
            relayed=self._relayed,
            announce=Announcer(reactor, lambda: self._links.sessions).announce,
            reserved=frozenset(config.reserve),
        )
        self.tunnels.on_closed = lambda: self._finishing.look_at_closed()
        self.cluster.hurried = lambda: self.tunnels.awaited
        self.cluster.on_changed = self._nodes_changed
        self.cluster.linked = self._links.linked
        self.cluster.on_taken = self._taken
        self.cluster.on_lost = self._lost
        self.agents = Agents(
            reactor,
            self.store,
            self.tunnels,
            self.events,
            config.token_limits,
            elsewhere=self.cluster.sessions_elsewhere,
        )
        self.cluster.sessions = self.agents.sessions.counts
        self._names = NameWatch(reactor, self.store, self.tunnels)
        self._upkeep = Upkeep(reactor, self.store, self.tunnels, self.events, config.free_after * DAY)
        self._accept = AcceptFactory(
            reactor,
            self.agents.authenticate,
            self.agents.begin,
            self.agents.owner_of,
            config.grace,
            node=self._node,
            admit=self.agents.admit,
            let_in=release,
        )
        self._arrivals = Arrivals(
            reactor,
            self._node,
            self._node_secret,
            self._find_for_node,
            self.cluster.look,
            self._accept,
        )
        self._edge = Edge(
            find=self._find,
            own=self.site.answer,
            sweep=self._sweep,
            forwarding=Forwarding(config.trusted_proxy, config.trusted_header),
            domain=config.domain,
            idle_timeout=config.idle_timeout,
            response_timeout=config.response_timeout,
            rate=Rate(config.min_rate, config.min_rate_window),
        )
        self._finishing = Finishing(
            reactor,
            self._edge,
            self._sweep,
            ports=lambda: self._ports.visitors,
            held=self._held,
            elsewhere=lambda: self._arrivals.serves or self._links.passes_on,
        )

    # -- its life -----------------------------------------------------------------------------------------

    def startService(self) -> None:
        """Open the store and listen; C{ready} tells how it went."""
        super().startService()
        starting = ensureDeferred(self._start())
        starting.addCallbacks(lambda _: self.ready.callback(self), self.ready.errback)

    async def _start(self) -> None:
        await self.store.open()
        self._edge.forwarding.pseudonym = await self._pseudonym()
        visitors = VisitorFactory(self._edge, "https")
        plain: Any = VisitorFactory(self._edge, "http")
        https_port = http_port = 0
        try:
            if self.certificates is not None:
                front = partial(
                    TLSFrontFactory, self.certificates, visitors, self._sweep, self.config.idle_timeout
                )
                self._neighbours.serve("https", front())
                https_port = self._listeners.listen(
                    "https", self.config.https_listen, front(self._neighbours.hand_https)
                )
                plain = VisitorFactory(self._edge, "http", self.site.redirect)
            elif self._neighbours.door:
                self._neighbours.serve("http", plain)
                hand_over = self._neighbours.hand_http
                plain = PlainFrontFactory(plain, self._sweep, self.config.idle_timeout, hand_over)
            if self.config.http_listen:
                http_port = self._listeners.listen("http", self.config.http_listen, plain)
            self.site.listens(https_port, http_port)
            await self.cluster.join(self._listen_for_nodes())
        except BaseException:
            await self._listeners.close()
            raise
        self._sweep.start()
        self.events.start()
        for watch in (self.agents.watch, self._names, self._upkeep):
            watch.start()
        self.events.add("node-started", f"Burrow {__version__} serves {self.site.own_url}")
        if self.certificates is not None:
            self.certificates.start()
        # By then every agent that comes back has taken its ports over.
        self._closing_unused = self._reactor.callLater(EXPECT_FOR, self._tcp_sockets.close_unused)
        warning = outgoing_warning(self.config.port_range)
        if warning:
            self.log.warn("{text}", text=warning)
        self.log.info("Burrow {version} serves {url}", version=__version__, url=self.site.own_url)

    async def _pseudonym(self) -> str:
        """What this server calls itself in Via: the same on all nodes of its store."""
        own = f"burrow-{token_hex(6)}"
        try:
            await self.store.swap_note(*_PSEUDONYM, None, own)
            return await self.store.note(*_PSEUDONYM) or own
        except StoreError:
            return own  # a loop over several nodes takes a round more until one meets itself

    def _listen_for_nodes(self) -> Node:
        """Listen for the links of other nodes: over TLS, unless they are on this machine."""
        host, port = self.config.node_address
        certificate = ""
        options: dict[str, Any] = {"backlog": 64, "interface": host}
        factory = self._arrivals.factory
        try:
            if ipaddress.ip_address(host).is_loopback:
                listening = self._reactor.listenTCP(port, factory, **options)
            else:
                identity, certificate = make_certificate(host)
                listening = self._reactor.listenSSL(port, factory, node_context(*identity), **options)
        except (CannotListenError, ValueError) as error:
            raise ConfigError(
                f"cannot listen on {self.config.node}: {error}; choose another with --node HOST:PORT, "
                "where HOST is an IP address of this machine's"
            ) from error
        self._node_port = wait_when_exhausted(self._reactor, listening)
        return Node(
            id=self._node,
            host=host,
            port=listening.getHost().port,
            secret=self._node_secret,
            certificate=certificate,
            version=__version__,
            started=time.time(),
            group=self._group,
            door=self._neighbours.door,
        )

    async def drain(self, within: float) -> None:
        """
        Go away without a word that is lost: listen no more, send the agents elsewhere, let what runs end.

        @param within: seconds after which what still runs is left to L{stopService}.
        """
        await self._close_doors()
        await self.cluster.drain()
        self.log.info("this server goes away: its agents are sent elsewhere, what runs may end")
        ends = self._reactor.seconds() + within
        while self._reactor.seconds() < ends and (
            self._edge.visitors or self._ports.visitors or self.agents.connected or self._arrivals.busy
        ):
            await self._send_away()
            await deferLater(self._reactor, LOOK_EVERY)

    async def _close_doors(self) -> None:
        """Take no more visitors and agents; connections end after the answer that is under way."""
        self._edge.draining = True
        self._neighbours.close()
        await self._listeners.close()

    async def _send_away(self) -> None:
        """Have the agents go to other nodes, which have their ports open by then."""
        for agent in list(self.agents.connected):
            agent.leave()
        if not self.tunnels.any_open:
            self._elsewhere.stop()
            await self._ports.close_all()

    def stopService(self) -> Deferred[Any]:
        """
        Stop to listen, let what runs end (L{burrow.server.finishing}) for C{stop_grace} seconds at most, say
        good-bye to the agents, close the store. Where other nodes go on, the agents are sent there first.

        @return: fires when it is done. Its cancelling ends what still runs now.
        """
        return ensureDeferred(self._stop())

    async def _finish(self) -> None:
        """Let what runs end, and with other nodes there, the agents go to them."""
        within = self.config.stop_grace
        if self.cluster.node is None:
            return  # it never served
        await self._close_doors()
        now = self._reactor.seconds()
        if within and await self.cluster.strangers():
            await self.cluster.drain()
            self._links.drop_passed()
            self.log.info("this server goes away: its agents are sent elsewhere, what runs may end")
            ends, agents_until = now + within, now + min(within, LEAVE_WITHIN)
            while True:
                await self._send_away()
                now = self._reactor.seconds()
                running = self._finishing.running() or (self.agents.connected and now < agents_until)
                if not running or now >= ends:
                    break
                await deferLater(self._reactor, LOOK_EVERY)
            return
        self._elsewhere.stop()
        await self._ports.close_all()
        await self._finishing.finish(within)

    async def _stop(self) -> None:
        await MultiService.stopService(self)
        try:
            await self._finish()
        except CancelledError:
            self.log.info("asked to end now: what still runs is cut")
        self._sweep.stop()
        for watch in (self.agents.watch, self._names, self._upkeep):
            watch.stop()
        self._finishing.stop()
        if self._closing_unused is not None and self._closing_unused.active():
            self._closing_unused.cancel()
        self._neighbours.close()
        await self._listeners.close()
        if self.certificates is not None:
            await self.certificates.stop()
        self._elsewhere.stop()
        await self._ports.close_all()
        for agent in list(self.agents.connected):
            agent.session.close("the server stops", CLOSE_RESTART)
        self.events.add("node-stopped", f"a node of {self.site.own_url} stopped")
        await self.events.stop()
        await self.cluster.leave()
        self._links.stop()
        self._arrivals.stop()
        if self._node_port is not None:
            await stop_listening(self._node_port)
        await self.store.close()

    # -- what visitors meet ----------------------------------------------------------------------------------

    def _make_certificates(self) -> Any:
        config = self.config
        if config.tls == "local":
            return LocalCertificates(config.state_dir, config.domain, self._whose)
        if config.tls == "files":
            assert config.cert_file is not None
            assert config.key_file is not None
            return FileCertificates(self._reactor, config.cert_file, config.key_file)
        if config.tls == "acme":
            # Imported when it is needed: txacme takes a while.
            from burrow.certificates.acme.setup import acme_certificates

            return acme_certificates(
                self._reactor,
                self.store,
                config,
                lambda: self.tunnels.hosts,
                self._whose,
                self.events.add,
            )
        return None

    def _certificate_ready(self, host: str) -> Deferred[None]:
        if self.certificates is None:
            return succeed(None)
        ready: Deferred[None] = self.certificates.ready(host)
        return ready

    def _whose(self, host: str) -> Deferred[bool]:
        """See L{burrow.certificates.base.Whose}."""
        name, _, domain = host.partition(".")
        if domain != self.config.domain:
            return succeed(False)
        if self.tunnels.find(name) is not None:
            return succeed(True)
        return Deferred.fromCoroutine(self.tunnels.owned(name))

    def _find(self, host: str, asking: Asking) -> Tunnel | Remote | Deferred[Any]:
        name, _, domain = host.partition(".")
        if domain != self.config.domain:
            return succeed(pages.no_such_tunnel(host))
        found = self.tunnels.find(name)
        if found is not None and self._by_host(found):
            return found
        return Deferred.fromCoroutine(self._wait_for(host, name, asking))

    async def _wait_for(self, host: str, name: str, asking: Asking) -> Tunnel | Remote | pages.Page:
        """The tunnel once its agent is back, if it is expected; else the page that says why there is none."""
        found = await self._found(name, asking)
        if found is None:
            if not await self.tunnels.owned(name):
                return pages.no_such_tunnel(host)
            return pages.agent_away(host) if self.tunnels.expected(name) else pages.agent_left(host)
        return found if self._by_host(found) else pages.no_such_tunnel(host)

    def _by_host(self, tunnel: Tunnel | Remote) -> bool:
        """Whether visitors reach it by host."""
        kind = tunnel.kind if isinstance(tunnel, Tunnel) else self._kinds.get(tunnel.lease.kind)
        return kind is not None and kind.reach is Reach.HOST

    # -- among other nodes -----------------------------------------------------------------------------------

    def _relayed(self, name: str) -> Remote | None:
        """The tunnel of a name that another node holds and that can be reached there."""
        lease = self.cluster.elsewhere(name)
        return self._links.route(lease) if lease is not None else None

    async def _found(self, name: str, asking: Asking | None = None) -> Tunnel | Remote | None:
        """The tunnel of a name, once its agent is connected, wherever."""
        return await self.tunnels.attached(name, self.config.hold, asking)

    async def _find_for_node(self, name: str, hops: int, asking: Asking) -> Tunnel | Remote | None:
        """See L{burrow.server.nodes.arrivals.Find}."""
        found = await self._found(name, asking)
        if isinstance(found, Remote):
            return self._links.route(found.lease, hops + 1) if hops < MAX_HOPS else None
        return found

    def _whose_agent(self, head: RequestHead) -> IProtocolFactory | pages.Page:
        """Who takes an agent: this node, or the one that has the session that it wants to go on with."""
        asked = head.value(SESSION_HEADER.lower().encode()).decode("latin-1")
        node = node_of(asked)
        elsewhere = self._links.agent_factory(node) if asked else None
        if elsewhere is None and self._links.may_reach(node):
            # A new session now would end the one that lives there, and all that runs on it.
            text = "The node that has this agent's session is not linked yet. Try again."
            return pages.Page(503, "node-away", "The server is not ready", text, ((b"Retry-After", b"1"),))
        return self._accept if elsewhere is None else elsewhere

    def _held(self, tunnel: Any) -> bool:
        """Whether a tunnel's name is open here or on another node."""
        name = tunnel.lease.name if isinstance(tunnel, Remote) else tunnel.name
        return self.tunnels.by_name(name) is not None or self.cluster.elsewhere(name) is not None

    def _nodes_changed(self) -> None:
        self._finishing.look_at_closed()
        self._links.update(self.cluster.others, set(self.cluster.theirs))
        self._neighbours.update()
        if not self._edge.draining:
            self._elsewhere.update()
        self.tunnels.look()

    def _taken(self, lease: Lease) -> None:
        self._elsewhere.serve(lease)  # first, so that the port is served all the time
        closing = ensureDeferred(self.tunnels.taken(lease))
        closing.addErrback(lambda reason: self.log.failure("a tunnel was not closed", reason))

    def _lost(self, names: list[str]) -> None:
        self.events.add("node-lost", f"a node that held {count_of(len(names), 'tunnel')} is gone")
        for name in names:
            self.tunnels.expect(name)
