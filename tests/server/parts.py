"""The parts of a server that tunnels need, put together without a reactor or a socket."""

from twisted.internet.defer import succeed

from burrow.server.domains import Domains
from burrow.server.events import Events
from burrow.server.hosts import Hosts
from burrow.server.nodes.cluster import Cluster
from burrow.server.nodes.links import Links
from burrow.server.opening import Opening
from burrow.server.quotas import Quotas
from burrow.server.routes import Routes
from burrow.server.tunnels import Tunnels


class Parts:
    """Of one node that is alone; visitors wait for 10 s."""

    def __init__(
        self, clock, store, kinds, ports, *, ready, max_tunnels=3, announce=None, dns=None, **options
    ):
        self.cluster = Cluster(clock, store, "node1")
        self.links = Links(clock, "node1", kinds)
        self.events = Events(clock, store, "node1")
        self.routes = Routes(clock, store, self.cluster, self.links, Hosts("example.com"), 10)
        self.quotas = Quotas(self.cluster, max_tunnels)
        self.tunnels = Tunnels(self.routes, ports, self.cluster, self.quotas, self.events)
        self.opening = Opening(
            store=store,
            tunnels=self.tunnels,
            routes=self.routes,
            quotas=self.quotas,
            kinds=kinds,
            ports=ports,
            cluster=self.cluster,
            events=self.events,
            hosts=Hosts("example.com"),
            domains=Domains("example.com", dns, ["192.0.2.1"]),
            url=lambda host: f"https://{host}",
            tls_url=lambda host: f"tls://{host}",
            ready=ready,
            announce=announce or (lambda lease: succeed(None)),
            **options,
        )
