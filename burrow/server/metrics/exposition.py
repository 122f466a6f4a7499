"""
The metrics in the form that Prometheus reads, by prometheus_client.

Labels are bounded: C{node} has the ids of the processes that run, others have values of ours. Nothing that a
visitor or an agent chose is a label, but for the hosts of certificates, L{HOSTS} of them at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from burrow.traffic.counts import BOUNDS

HOSTS = 200
"""Certificates that have a series of their own: those that expire first."""

_CLASSES = {"0": "none", "1": "1xx", "2": "2xx", "3": "3xx", "4": "4xx", "5": "5xx"}

_NEEDED = {"version", "request_seconds", "connection_seconds", "store", "process"}

Told = Mapping[str, Mapping[str, Any]]


def exposition(
    told: Told, silent: Iterable[str], certificates: Iterable[Mapping[str, Any]], accept: str
) -> tuple[str, bytes]:
    """
    All metrics.

    @param told: what each process measured, by its node's id. @param silent: the nodes that did not answer.
    @param certificates: as the admin API has them. @param accept: the scraper's Accept field.
    @return: the media type, and the text.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(told, list(silent), list(certificates)))
    encode, kind = choose_encoder(accept)
    return kind, encode(registry)


def readable(measured: Any) -> Mapping[str, Any]:
    """A L{Read<burrow.server.nodes.asking.Read>}: what a process measured, if it has what no metric lacks."""
    for key in ("request_times", "connections"):
        if len(measured[key]) != len(BOUNDS) + 1:
            raise ValueError(f"the buckets of {key} have other bounds")
    missing = _NEEDED - measured.keys()
    if missing:
        raise LookupError(f"{sorted(missing)} are missing")
    return {**measured}


class _Told(Collector):
    def __init__(self, told: Told, silent: list[str], certificates: list[Mapping[str, Any]]) -> None:
        self._told = told
        self._silent = silent
        self._certificates = certificates

    def collect(self) -> Iterator[Metric]:
        """See L{Collector}."""
        info = InfoMetricFamily("burrow_node", "A server process and its release.", labels=["node"])
        for node, one in self._told.items():
            info.add_metric([node], {"version": str(one["version"])})
        yield info
        up = GaugeMetricFamily(
            "burrow_node_up", "Whether a process answered the one that was scraped.", labels=["node"]
        )
        for node in self._told:
            up.add_metric([node], 1)
        for node in self._silent:
            up.add_metric([node], 0)
        yield up
        yield self._gauge("burrow_start_time_seconds", "When a process started, since the epoch.", "started")
        yield self._gauge("burrow_draining", "Whether a process is about to end.", "draining")
        yield self._gauge("burrow_tunnels", "Open tunnels.", "tunnels", "kind")
        yield self._gauge(
            "burrow_sessions", "Agents' sessions; detached: without a connection.", "sessions", "state"
        )
        yield self._gauge("burrow_streams", "Visitors' streams to agents.", "streams")
        yield self._counter(
            "burrow_refused_connections",
            "Connections to TCP ports whose address --allow or --deny of the tunnel refuses.",
            "refused",
        )
        yield self._gauge("burrow_visitors", "Visitors' connections.", "visitors", "port")
        yield self._requests()
        yield self._histogram(
            "burrow_request_seconds",
            "From a request's head until its answer is whole.",
            "request_times",
            "request_seconds",
        )
        yield self._histogram(
            "burrow_connection_seconds",
            "How long connections to TCP ports lasted.",
            "connections",
            "connection_seconds",
        )
        yield self._gauge(
            "burrow_waiting_requests", "Requests that wait for an agent to come back.", "waiting"
        )
        yield self._counter(
            "burrow_waited_requests", "Requests that waited for an agent, by how that ended.", "waited", "end"
        )
        yield self._counter("burrow_waited_seconds", "How long they waited in all.", "waited_seconds")
        yield self._counter(
            "burrow_session_bytes", "Bytes of agents' sessions, framing included.", "carried", "direction"
        )
        yield self._counter("burrow_resumes", "Connections by which a session went on.", "resumes")
        yield self._gauge("burrow_node_links", "Links to other nodes.", "links")
        yield self._counter("burrow_events", "Events, as `burrow events` shows them.", "events", "kind")
        yield self._counts()
        yield from self._store()
        yield from self._process()
        yield from self._of_certificates()

    def _series(self, key: str, label: str) -> Iterator[tuple[list[str], float]]:
        for node, one in self._told.items():
            value = one.get(key)
            if label:
                for name, number in (value or {}).items():
                    yield [node, name], number
            elif value is not None:
                yield [node], value

    def _gauge(self, name: str, text: str, key: str, label: str = "") -> Metric:
        family = GaugeMetricFamily(name, text, labels=["node", label] if label else ["node"])
        for labels, value in self._series(key, label):
            family.add_metric(labels, value)
        return family

    def _counter(self, name: str, text: str, key: str, label: str = "") -> Metric:
        family = CounterMetricFamily(name, text, labels=["node", label] if label else ["node"])
        for labels, value in self._series(key, label):
            family.add_metric(labels, value)
        return family

    def _counts(self) -> Metric:
        family = CounterMetricFamily(
            "burrow_kind_counts", "What kinds of tunnels count of their own.", labels=["node", "kind", "what"]
        )
        for node, one in self._told.items():
            for kind, counts in one.get("counts", {}).items():
                for what, value in counts.items():
                    family.add_metric([node, kind, what], value)
        return family

    def _requests(self) -> Metric:
        family = CounterMetricFamily(
            "burrow_requests",
            "Requests to tunnels by their status; none: without a whole answer.",
            labels=["node", "status"],
        )
        for (node, number), value in self._series("requests", "status"):
            family.add_metric([node, _CLASSES.get(number, "none")], value)
        return family

    def _histogram(self, name: str, text: str, key: str, total: str) -> Metric:
        family = HistogramMetricFamily(name, text, labels=["node"])
        for node, one in self._told.items():
            buckets, sum_so_far = [], 0
            for bound, count in zip((*BOUNDS, "+Inf"), one[key], strict=True):
                sum_so_far += count
                buckets.append((str(bound), sum_so_far))
            family.add_metric([node], buckets, one[total])
        return family

    def _store(self) -> Iterator[Metric]:
        labels = ["node", "operation"]
        count = CounterMetricFamily("burrow_store_operations", "Questions to the store.", labels=labels)
        seconds = CounterMetricFamily(
            "burrow_store_seconds", "How long its answers took in all.", labels=labels
        )
        errors = CounterMetricFamily(
            "burrow_store_errors", "Questions that it did not answer.", labels=labels
        )
        for node, one in self._told.items():
            for operation, (number, took, failed) in one["store"].items():
                count.add_metric([node, operation], number)
                seconds.add_metric([node, operation], took)
                errors.add_metric([node, operation], failed)
        yield from (count, seconds, errors)

    def _process(self) -> Iterator[Metric]:
        cpu = CounterMetricFamily("burrow_process_cpu_seconds", "CPU that a process took.", labels=["node"])
        memory = GaugeMetricFamily("burrow_process_resident_memory_bytes", "Its memory.", labels=["node"])
        descriptors = GaugeMetricFamily("burrow_process_open_fds", "Its file descriptors.", labels=["node"])
        for node, one in self._told.items():
            process = one["process"]
            for family, key in ((cpu, "cpu"), (memory, "memory"), (descriptors, "descriptors")):
                if key in process:
                    family.add_metric([node], process[key])
        yield from (cpu, memory, descriptors)

    def _of_certificates(self) -> Iterator[Metric]:
        states = dict.fromkeys(("valid", "due", "expired", "failed", "missing"), 0)
        expiry = GaugeMetricFamily(
            "burrow_certificate_expiry_timestamp_seconds",
            f"When a certificate expires, since the epoch; of the {HOSTS} that expire first.",
            labels=["host"],
        )
        ends = []
        for item in self._certificates:
            states[str(item["state"])] = states.get(str(item["state"]), 0) + 1
            if item.get("not_after"):
                ends.append((datetime.fromisoformat(str(item["not_after"])).timestamp(), str(item["host"])))
        for when, host in sorted(ends)[:HOSTS]:
            expiry.add_metric([host], when)
        count = GaugeMetricFamily("burrow_certificates", "Certificates by their state.", labels=["state"])
        for state, number in states.items():
            count.add_metric([state], number)
        yield from (count, expiry)
