"""
The option by which a tunnel has further upstreams for some paths, and what chooses among them on the agent.

The server is told the paths alone: requests on one stream are all for one upstream.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from burrow.errors import ConfigError
from burrow.policy.routing import prefix_of
from burrow.protocols.connecting import Connector
from burrow.protocols.forward import Forward
from burrow.protocols.options import Side, kind_option
from burrow.protocols.upstream import Upstream, UpstreamFailed

MAX_ROUTES = 20
"""Paths of a tunnel that have upstreams of their own."""

MAX_LINE = 32 * 1024
"""Bytes of a request's first line; no longer one reaches an agent."""

_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()+,;:@/%-]{0,200}")
_LINE = re.compile(rb"\S+ (\S+) ")


@dataclass(frozen=True, slots=True)
class PathRoute:
    """
    @ivar path: of the requests, which may go on behind a slash. @ivar upstream: None on the server.
    """

    path: str
    upstream: Upstream | None

    def __str__(self) -> str:
        return self.path


def parse_route(text: str) -> PathRoute:
    """C{/PATH=UPSTREAM}; the server is told C{/PATH}."""
    path, equals, upstream = text.partition("=")
    path = path.strip()
    if not _PATH.fullmatch(path) or path == "/" or "//" in path:
        raise ValueError("write a path and where it leads, as in /api=4000")
    try:
        where = Upstream.parse(upstream.strip(), ("http", "https", "h2c", "h2")) if equals else None
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return PathRoute(path.rstrip("/"), where)


ROUTE = kind_option(
    "route",
    "requests under this path have another upstream, as in /api=4000; may be repeated",
    side=Side.BOTH,
    parse=parse_route,
    metavar="PATH=UPSTREAM",
    many=True,
)


def check_routes(options: Mapping[str, Any], agent: bool = False) -> None:
    """@param agent: whether the upstreams have to be known. @raise ConfigError: they do not go together."""
    routes = options.get(ROUTE.key) or ()
    if len(routes) > MAX_ROUTES:
        raise ConfigError(f"one tunnel has {MAX_ROUTES} routes at most: open another for the others")
    paths = [route.path for route in routes]
    for route in routes:
        if paths.count(route.path) > 1:
            raise ConfigError(f"--route {route.path} is given twice: leave one of them out")
        if agent and route.upstream is None:
            raise ConfigError(f"--route {route.path} leads nowhere: write {route.path}=PORT")


class Routed(Forward):
    """
    A L{Forward} whose upstream is chosen by the first request's path; all requests of a stream have the same.

    @param main: the upstream of paths that are none of the routes'. @param choose: the connector of an
        upstream.
    """

    def __init__(
        self,
        main: Upstream,
        routes: Iterable[PathRoute],
        choose: Callable[[Upstream], Connector],
        refuse: Callable[[Forward, UpstreamFailed], None],
    ) -> None:
        super().__init__(choose(main), main, refuse)
        self._upstreams = {route.path.encode(): route.upstream for route in routes}
        self._choose = choose
        self._chosen = False

    def connectionMade(self) -> None:
        """A visitor came: what it asks for decides where to connect to."""

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the visitor's."""
        if self._chosen:
            super().dataReceived(data)
            return
        self.first += data
        line = _LINE.match(self.first)
        if line is None and len(self.first) < MAX_LINE and b"\n" not in self.first:
            return
        self._chosen = True
        upstream = self._upstreams.get(prefix_of(line[1], self._upstreams)) if line is not None else None
        if upstream is not None:
            self._upstream, self._connector = upstream, self._choose(upstream)
        super().connectionMade()
