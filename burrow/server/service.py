"""
The server as one service: makes its parts, and starts and stops them in order.

Long because each of its parts is made by a call that names all that it needs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from secrets import token_hex, token_urlsafe
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.logger import Logger

from burrow import __version__
from burrow.clock import DAY, cancel
from burrow.errors import ConfigError
from burrow.link.accept import AcceptFactory
from burrow.mux.interfaces import CloseCode
from burrow.protocols.registry import broken, kinds
from burrow.server.admin.service import Admin
from burrow.server.agents import Agents
from burrow.server.balanced import Balanced, handed_over
from burrow.server.certificates import make_certificates
from burrow.server.checking import check_options
from burrow.server.config import ServerConfig
from burrow.server.counting import AddressLimit, stop_counting
from burrow.server.dns import Dns
from burrow.server.domains import Domains
from burrow.server.door import AgentDoor
from burrow.server.edge.passing import Passing
from burrow.server.edge.sweep import Sweep
from burrow.server.events import Events
from burrow.server.expected import EXPECT_FOR
from burrow.server.finishing import Finishing
from burrow.server.greeting import Greeting
from burrow.server.health import Health
from burrow.server.hosts import Hosts
from burrow.server.leaving import Leaving
from burrow.server.listening import Listeners, TcpSockets
from burrow.server.means import make_means
from burrow.server.metrics.service import Metrics
from burrow.server.metrics.stored import MeasuredStore
from burrow.server.nodes.announce import Announcer, refresh
from burrow.server.nodes.arrivals import Arrivals
from burrow.server.nodes.asking import Questions
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.lifetimes import Lifetimes
from burrow.server.nodes.links import Links
from burrow.server.nodes.listen import listen_for_nodes
from burrow.server.nodes.neighbours import Neighbours
from burrow.server.nodes.ports import RemotePorts
from burrow.server.opening import Opening
from burrow.server.port_closing import stop_listening
from burrow.server.ports import Ports, outgoing_warning
from burrow.server.private import Private
from burrow.server.pseudonym import pseudonym
from burrow.server.public import PublicPorts, make_edge
from burrow.server.quotas import Quotas
from burrow.server.released import NameWatch
from burrow.server.routes import Routes
from burrow.server.site import Site
from burrow.server.ssh.connections import Connections
from burrow.server.stores import open_store
from burrow.server.trimming import Trimming
from burrow.server.tunnels import Tunnels
from burrow.server.upkeep import Upkeep
from burrow.store.base import IStore
from burrow.traffic.hub import Traffic
from burrow.wording import count_of


class BurrowServer(MultiService):
    """
    A Burrow server.

    @param store: not opened; by default the configured one.
    @param inherited: see L{Listeners}. @param tcp_sockets: opens the public TCP ports.
    @param group: an id that all processes of one C{burrow server} share; empty for a process of its own.
    @ivar ready: fires with the server once it listens, or fails with the reason why it cannot.
    @raise ConfigError: the configuration contradicts itself.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: ServerConfig,
        store: IStore | None = None,
        *,
        inherited: Mapping[str, Sequence[int]] | None = None,
        tcp_sockets: TcpSockets | None = None,
        group: str = "",
    ) -> None:
        super().__init__()
        check_options(config)
        self.config = config
        measured: Any = MeasuredStore(
            reactor,
            store
            or open_store(
                reactor,
                config,
                alone=lambda: not self.cluster.others,
                lost=lambda name: self._names.lost(name),
            ),
        )
        self.store: IStore = measured
        self.ready: Deferred[BurrowServer] = Deferred()
        self._reactor = reactor
        limit = AddressLimit(
            reactor,
            config.max_connections_per_address,
            config.uncounted_address + config.trusted_proxy + config.proxy_protocol_from,
        )
        balanced = Balanced(reactor, config.proxy_protocol_from, limit)
        self._listeners = Listeners(reactor, inherited or {}, limit.guard)
        self._node_port: IListeningPort | None = None
        self._closing_unused: IDelayedCall | None = None
        self._sweep = Sweep(reactor)
        self._tcp_sockets = tcp_sockets or TcpSockets(reactor)
        self._node = token_hex(6)
        self._group = group or self._node
        self._node_secret = token_urlsafe(32)
        known_kinds = kinds()

        # Other nodes.
        self._links = Links(reactor, self._node, known_kinds)
        self._lifetimes = Lifetimes(None if config.store == "memory" else config.state_dir)
        self.cluster = Cluster(reactor, self.store, self._node, self._links.linked)
        self.events = Events(reactor, self.store, self._node)

        # Routes and tunnels.
        hosts = Hosts(config.domain)
        self._routes = Routes(reactor, self.store, self.cluster, self._links, hosts, config.hold)
        listen = config.https_listen or config.http_listen
        traffic = Traffic()
        interface = listen.host if listen else ""
        self._ports = Ports(
            self._tcp_sockets, interface, config.tcp_ports, limit.guard, traffic, balanced.wrap
        )
        self._neighbours = Neighbours(
            reactor, self.cluster, group, hosts, self._ports.served, limit.guard, handed_over
        )
        self._remote_ports = RemotePorts(
            reactor,
            known_kinds,
            self._ports,
            self.cluster,
            self._routes.of_port,
            self._neighbours.hand_port,
        )
        quotas = Quotas(self.cluster, config.max_tunnels)
        self.tunnels = Tunnels(self._routes, self._ports, self.cluster, quotas, self.events)
        self._health = Health(reactor, self._routes.shared)
        self.certificates = make_certificates(
            reactor,
            self.store,
            config,
            lambda: self.tunnels.hosts,
            self._routes.serves,
            self.events.add,
        )
        self.site = Site(
            config,
            lambda head: self._door.factory_for(head),
            lambda head, path: self.admin.answer(head, path),
            self._not_ready,
            lambda host: self._routes.held(hosts.name(host)),
        )
        opening = Opening(
            store=self.store,
            tunnels=self.tunnels,
            routes=self._routes,
            quotas=quotas,
            kinds=known_kinds,
            ports=self._ports,
            cluster=self.cluster,
            events=self.events,
            hosts=hosts,
            domains=Domains(config.domain, Dns(reactor, config.dns_server), config.public_address),
            url=self.site.url,
            tls_url=self.site.tls_url,
            ready=self._certificate_ready,
            announce=Announcer(reactor, lambda: self._links.sessions).announce,
            reserved=frozenset(config.reserve),
            http2=config.speaks_http2,
        )

        # Agents, and what other nodes pass on.
        self._ssh = Connections(reactor)
        self._replaced = False
        questions = Questions(reactor, self._node, self._links.session_with, lambda: self.cluster.others)
        private = Private(reactor, self.store, known_kinds, self.cluster, self._routes, traffic, questions)
        self.agents = Agents(
            reactor,
            self.store,
            opening,
            self.tunnels,
            self._routes,
            self.cluster,
            self.events,
            config.token_limits,
            private,
        )
        accept = AcceptFactory(
            reactor,
            self.agents.authenticate,
            self.agents.begin,
            self.agents.owner_of,
            config.grace,
            node=self._node,
            admit=self.agents.admit,
            let_in=stop_counting,
            name_of=lambda token: token.name,
        )
        self._door = AgentDoor(accept, self._links)
        self._arrivals = Arrivals(
            reactor,
            self._node,
            self._node_secret,
            self._routes.of_node,
            partial(refresh, self.cluster),
            accept,
            questions.asked,
        )
        self._names = NameWatch(reactor, self.store, self.tunnels)
        self.cluster.changes.listeners.append(self._names.changed)
        self._upkeep = Upkeep(reactor, self.store, self.tunnels, self.events, config.free_after * DAY)
        self._trimming = Trimming(reactor, lambda: self.agents.turnover + self.tunnels.turnover)

        # Visitors, and the end.
        means = self._means = make_means(reactor, config)
        self._edge = make_edge(config, self._routes.of_host, self.site.answer, self._sweep, traffic, means)
        self.admin = Admin(
            reactor,
            config,
            self.store,
            questions,
            cluster=self.cluster,
            links=self._links,
            tunnels=self.tunnels,
            agents=self.agents,
            edge=self._edge,
            ports=self._ports,
            events=self.events,
            certificates=self.certificates,
            drain=lambda: self.drain(config.drain),
            state=self.site.state,
        )
        self.metrics = Metrics(
            reactor,
            config,
            questions,
            self.cluster,
            self.admin,
            self._group,
            self.site.state,
            edge=self._edge,
            ports=self._ports,
            tunnels=self.tunnels,
            agents=self.agents,
            routes=self._routes,
            links=self._links,
            events=self.events,
            store=measured.counts,
            kinds=known_kinds,
        )
        self._public = PublicPorts(
            config,
            self._listeners,
            self._neighbours,
            self.certificates,
            self._edge,
            self._sweep,
            self.site,
            self.admin,
            self.metrics,
            Passing(Greeting(self._routes, self.cluster, hosts, known_kinds), self._ports),
            balanced.wrap,
        )
        self._finishing = Finishing(
            reactor,
            self._edge,
            self._sweep,
            ports=lambda: self._ports.visitors,
            held=self._routes.holds,
            elsewhere=lambda: self._arrivals.serves_visitors or self._links.relays_agents,
            private=lambda: private.visitors,
        )
        self._leaving = Leaving(
            reactor,
            listeners=self._listeners,
            edge=self._edge,
            neighbours=self._neighbours,
            ports=self._ports,
            remote_ports=self._remote_ports,
            cluster=self.cluster,
            links=self._links,
            arrivals=self._arrivals,
            tunnels=self.tunnels,
            agents=self.agents,
            finishing=self._finishing,
            ssh=self._ssh,
        )
        self.tunnels.on_closed.append(self._finishing.end_idle)
        self.cluster.on_nodes.append(self._nodes_changed)
        self.cluster.on_leases.append(self._leases_changed)
        self.cluster.on_dead.append(self._node_died)

    # -- its life -----------------------------------------------------------------------------------------

    def startService(self) -> None:
        """Open the store and listen; C{ready} fires with the outcome."""
        super().startService()
        starting = ensureDeferred(self._start())
        starting.addCallbacks(lambda _: self.ready.callback(self), self.ready.errback)

    async def _start(self) -> None:
        await self.store.open()
        self._edge.forwarding.pseudonym = await pseudonym(self.store)
        try:
            self._public.listen()
            self._listen_for_ssh()
            self._node_port, note = listen_for_nodes(
                self._reactor,
                self.config.node_address,
                self._arrivals.factory,
                node=self._node,
                secret=self._node_secret,
                group=self._group,
                door=self._neighbours.door,
            )
            self._lifetimes.begin(self._node)
            await self._lifetimes.clear(self.store)
            await self.cluster.join(note)
        except BaseException:
            await self._listeners.close()
            self._lifetimes.end()
            raise
        self._sweep.start()
        self.events.start()
        for watch in (self.agents.watch, self._names, self._upkeep, self._trimming):
            watch.start()
        self.events.add("node-started", f"Burrow {__version__} serves {self.site.own_url}")
        if self.certificates is not None:
            self.certificates.start()
        # By then every agent that came back has opened its ports again.
        self._closing_unused = self._reactor.callLater(EXPECT_FOR, self._tcp_sockets.close_unused)
        if warning := outgoing_warning(self.config.tcp_ports):
            self.log.warn("{text}", text=warning)
        for plugin in broken():
            self.log.warn("{plugin}", plugin=plugin)
        self.log.info("Burrow {version} serves {url}", version=__version__, url=self.site.own_url)

    def _listen_for_ssh(self) -> None:
        """Take agents that are a plain ssh, if the configuration says where."""
        config = self.config
        if config.ssh_listen is not None:
            try:
                from burrow.server.ssh.service import SshServer, host_key
            except ImportError as error:
                raise ConfigError(f"--ssh needs more: pip install twisted[conch] ({error})") from error
            try:
                key = host_key(config.state_dir)
            except (OSError, ValueError) as error:
                raise ConfigError(f"--ssh has no key: {error}") from error
            in_thread = self._means.in_thread
            server = SshServer(
                self._reactor, self.store, self.agents, config.ssh_keys, key, in_thread, self._ssh
            )
            self._listeners.listen("ssh", config.ssh_listen, server.factory())

    def _not_ready(self) -> str:
        """See L{Site}. A store that is away is no reason: what is known is served."""
        if self.cluster.node is None:
            return "This process is starting."
        return "This process is about to end: its successor serves." if self._edge.draining else ""

    async def drain(self, within: float) -> None:
        """See L{Leaving.drain}."""
        self.admin.lives.stop()  # so that their readers come to another node
        await self._leaving.drain(within)
        self._replaced = True

    def stopService(self) -> Deferred[Any]:
        """
        Stop listening, give what runs C{stop_grace} seconds to end (L{burrow.server.finishing}), close the
        agents' sessions, close the store. If other nodes are running, the agents are sent there first.

        @return: fires when all is done. Cancel it to end at once what still runs.
        """
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        await MultiService.stopService(self)
        if not self._replaced:
            self._ssh.tell("the server stops: your connection ends when nothing runs on it")
        try:
            if self.cluster.node is not None:  # None if the start failed
                await self._leaving.finish(self.config.stop_grace)
        except CancelledError:
            self.log.info("stopping: asked again to stop; what still runs is cut now")
        self._sweep.stop()
        for watch in (self.agents.watch, self._names, self._upkeep, self._trimming):
            watch.stop()
        self._finishing.stop()
        self._health.stop()
        cancel(self._closing_unused)
        self._neighbours.close()
        self.admin.stop()
        self.metrics.stop()
        await self._listeners.close()
        if self.certificates is not None:
            await self.certificates.stop()
        self._remote_ports.stop()
        await self._ports.close_all()
        await self._ssh.end_all(
            "this process of the server was replaced: start ssh again to come to the new one"
            if self._replaced
            else "the server stops: start ssh again when it is back"
        )
        for agent in list(self.agents.connected):
            agent.session.close("the server stops", CloseCode.RESTART)
        self.events.add("node-stopped", f"a node of {self.site.own_url} stopped")
        await self.events.stop()
        await self.cluster.leave()
        self._lifetimes.end()
        self._links.stop()
        self._arrivals.stop()
        if self._node_port is not None:
            await stop_listening(self._node_port)
        await self.store.close()

    def _certificate_ready(self, host: str, token: str) -> Deferred[None]:
        if self.certificates is None:
            return succeed(None)
        ready: Deferred[None] = self.certificates.ready(host, token)
        return ready

    # -- what changes on other nodes -------------------------------------------------------------------------

    def _nodes_changed(self) -> None:
        self._links.update(self.cluster.others)
        self._neighbours.update()
        self._finishing.end_idle()

    def _leases_changed(self, names: Collection[str]) -> None:
        self._links.forget(names)
        self._finishing.end_idle()

    def _node_died(self, names: list[str]) -> None:
        self.events.add("node-lost", f"a node that held {count_of(len(names), 'tunnel')} is dead")
