"""The server's own URL: its pages there, and the path where agents connect."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from twisted.internet.interfaces import IProtocolFactory

from burrow import __version__
from burrow.addresses import DEFAULT_PORTS, bracketed
from burrow.errors import BadOption
from burrow.http.request_head import RequestHead
from burrow.link import AGENT_PATH, OWN_PATH
from burrow.server.config import ServerConfig
from burrow.server.edge import pages

HEALTH_PATH = f"{OWN_PATH}/health"
"""A page that says that the server runs, for monitoring: it is 200 as long as this process answers."""

READY_PATH = f"{OWN_PATH}/ready"
"""A page that says whether visitors and agents should be sent here, for load balancers: 200, or 503."""


class Site:
    """
    @param agents: returns the factory that accepts an agent with this request, or a page that refuses it.
    @param not_ready: returns why nobody should be sent to this process, in a sentence; empty if it serves.
    @param held: returns whether a tunnel of a host is open, here or on another node.
    @param admin: returns what answers a request to a path, if that is the admin API's or the dashboard's.
    """

    def __init__(
        self,
        config: ServerConfig,
        agents: Callable[[RequestHead], IProtocolFactory | pages.Page],
        admin: Callable[[RequestHead, str], IProtocolFactory | pages.Page | None] = lambda head, path: None,
        not_ready: Callable[[], str] = lambda: "",
        held: Callable[[str], bool] = lambda host: False,
    ) -> None:
        self._held = held
        self._domain = config.domain
        self._base = config.public_base
        self._secure = config.tls != "off"
        self._agents = agents
        self._admin = admin
        self._not_ready = not_ready
        self._https_port = self._http_port = 0

    def listens(self, https_port: int, http_port: int) -> None:
        """Set the ports that the server listens on, which are known only now if they were given as 0."""
        self._https_port, self._http_port = https_port, http_port

    def url(self, host: str) -> str:
        """The public URL of a host."""
        ports = ("https", self._https_port) if self._secure else ("http", self._http_port)
        scheme, port = self._base or ports
        return f"{scheme}://{host}" if port == DEFAULT_PORTS[scheme] else f"{scheme}://{host}:{port}"

    def tls_url(self, host: str) -> str:
        """The public URL of a host whose TLS a tunnel takes. @raise BadOption: there is no TLS port."""
        if not self._secure:
            raise BadOption(
                "such a tunnel is reached at the server's own TLS port, and the server has none: "
                "it runs with --tls off"
            )
        scheme, port = self._base or ("https", self._https_port)
        port = port if scheme == "https" else self._https_port
        return f"tls://{host}" if port == DEFAULT_PORTS["https"] else f"tls://{host}:{port}"

    @property
    def own_url(self) -> str:
        """Where agents and people reach the server itself."""
        return self.url(self._domain)

    def answer(self, head: RequestHead) -> pages.Page | IProtocolFactory | None:
        """The server's own answer to a request; None if the host is not the server's own."""
        if not self._is_own(head.host):
            return None
        path = head.target.partition(b"?")[0].decode("latin-1")
        if path == AGENT_PATH:
            if head.upgrade.lower() == b"websocket":
                return self._agents(head)
            return pages.bad_request(400, "agents connect here by WebSocket")
        admin = self._admin(head, path)
        if admin is not None:
            return admin
        state = self.state(path)
        if state is not None:
            return state
        if path == "/":
            text = "This is a Burrow server: its tunnels are names under this domain."
            return pages.Page(200, "burrow", "Burrow", text)
        return pages.Page(
            404, "not-found", "There is nothing here", f"This Burrow server has no page {path}."
        )

    def state(self, path: str) -> pages.Page | None:
        """The page at L{HEALTH_PATH} or L{READY_PATH}; None for another path."""
        if path == HEALTH_PATH:
            return pages.Page(200, "healthy", "Burrow is well", f"Version {__version__}.")
        if path != READY_PATH:
            return None
        why = self._not_ready()
        if why:
            return pages.Page(503, "not-ready", "Burrow is not ready", why, ((b"Retry-After", b"1"),))
        return pages.Page(200, "ready", "Burrow is ready", "It serves visitors and agents.")

    def redirect(self, head: RequestHead) -> pages.Page:
        """The answer of the plain port if there is a TLS port: a redirect to it."""
        host = head.host or self._domain
        if not (self._is_own(host) or host.endswith("." + self._domain) or self._held(host)):
            return pages.no_such_tunnel(host)
        target = head.target.decode("latin-1") if head.target != b"*" else "/"
        location = self.url(bracketed(host)) + target
        text = f"This server speaks HTTPS: {location}"
        return pages.Page(308, "https", "Over there", text, ((b"Location", location.encode("latin-1")),))

    def _is_own(self, host: str) -> bool:
        """Whether a host is the server's own: the base domain, an IP address, or empty."""
        if host in ("", self._domain):
            return True
        if not (host[-1].isdigit() or ":" in host):
            return False  # a name: parsing it as an address at each request would be slow
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True
