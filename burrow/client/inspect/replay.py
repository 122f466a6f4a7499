"""Sends requests again, from the agent to its upstream: not through the tunnel, by the same connectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from burrow.addresses import parse_port
from burrow.client.inspect.captured import Captured
from burrow.client.inspect.changed import Outgoing, outgoing
from burrow.client.inspect.exchange import Exchange
from burrow.client.inspect.problem import Problem
from burrow.client.inspect.store import Store
from burrow.errors import ConfigError
from burrow.protocols.connecting import Connector
from burrow.protocols.forward import Connectors
from burrow.protocols.upstream import Upstream
from burrow.traffic.hub import Traffic
from burrow.traffic.record import Record

MAX_RUNNING = 16
"""Replays at the same time, at most."""

VISITOR = "127.0.0.1:0"
"""The visitor's address of a replay's record: there is none but this machine."""


class Replayer:
    """
    @param traffic: to which replays are told as records.
    @param upstream_of: returns the upstream of a tunnel by its name; None if the agent has none of that name.
    """

    def __init__(
        self,
        reactor: Any,
        traffic: Traffic,
        store: Store,
        upstream_of: Callable[[str], Upstream | None],
    ) -> None:
        self._reactor = reactor
        self._traffic = traffic
        self._store = store
        self._upstream_of = upstream_of
        self._running: set[Exchange] = set()

    def replay(
        self, captured: Captured, changes: Mapping[str, Any], *, elsewhere: bool
    ) -> tuple[Record, Deferred[None]]:
        """
        Send a request again.

        @param changes: see L{outgoing}; C{port} or C{upstream} says where to, instead of the
            tunnel's upstream.
        @param elsewhere: whether that may be said.
        @return: the replay's record, and what fires when it has ended.
        @raise Problem: it is not possible.
        """
        request = outgoing(captured, changes)
        if len(self._running) >= MAX_RUNNING:
            raise Problem(429, f"{MAX_RUNNING} replays are running: wait until one has ended.")
        connector = self._connector(captured.record, changes, elsewhere)
        record = self._record(captured.record, request)
        self._store.mark_replay(record.id, captured.record.id)
        exchange = Exchange(self._reactor, connector, self._traffic, record, request)
        self._running.add(exchange)
        exchange.done.addCallback(lambda _: self._running.discard(exchange))
        Deferred.fromCoroutine(exchange.run())
        return record, exchange.done

    def stop(self) -> None:
        """End those that run."""
        for exchange in list(self._running):
            exchange.stop()

    def _connector(self, record: Record, changes: Mapping[str, Any], elsewhere: bool) -> Connector:
        text = changes.get("upstream", "")
        if "port" in changes:
            if text:
                raise Problem(400, "Give port or upstream, not both.")
            try:
                text = str(parse_port(str(changes["port"])))
            except ValueError as error:
                raise Problem(400, f"The port is not possible: {error}.") from error
        if not isinstance(text, str):
            raise Problem(400, "The upstream is not possible: write a port, HOST:PORT, a URL or unix:/PATH.")
        if text:
            if not elsewhere:
                raise Problem(
                    403, "From another machine, requests are replayed to the tunnel's upstream only."
                )
            try:
                # No connector is kept: there would be one for each upstream that somebody ever named.
                return Connector(self._reactor, Upstream.parse(text, ("http", "https", "h2c", "h2")))
            except ConfigError as error:
                raise Problem(400, f"The upstream is not possible: {error}.") from error
        upstream = self._upstream_of(record.tunnel)
        if upstream is None:
            raise Problem(
                409, f"This agent has no tunnel {record.tunnel or 'for it'} now: give a port or an upstream."
            )
        own = getattr(upstream, "connector", None)  # of a kind whose upstream is in this process
        return Connectors.get(self._reactor, upstream) if own is None else own(self._reactor)

    @staticmethod
    def _record(of: Record, request: Outgoing) -> Record:
        return Record(
            protocol="http",
            tunnel=of.tunnel,
            visitor=VISITOR,
            scheme=of.scheme,
            method=request.method,
            target=request.target,
            host=of.host,
            request_headers=request.headers,
        )
