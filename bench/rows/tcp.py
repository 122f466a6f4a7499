"""TCP tunnels under real programs: PostgreSQL, Redis, iperf3."""

from __future__ import annotations

import csv
import json
import re
import subprocess

from bench.load import LoadFailed, percentile, round_trips
from bench.rows.base import Goal, Metric, Row
from bench.subjects.base import Setup, Subject, Visit

PATIENCE = 90.0
"""Seconds after which a program is given up."""


def _run(*command: object) -> str:
    parts = [str(part) for part in command]
    try:
        ended = subprocess.run(parts, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"{parts[0]} did not end within {PATIENCE:g} s") from None
    if ended.returncode:
        raise LoadFailed(f"{parts[0]}: {ended.stdout[-200:]} {ended.stderr[-200:]}")
    return ended.stdout


class Pgbench(Row):
    """Eight clients that read (-S)."""

    name, family = "pgbench", "tcp"
    setup = Setup(("postgres",))
    quick = False
    metrics = (Metric("rate", "pgbench, 8 clients", "1/s", (Goal(0.5, "direct"),)),)

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        where = subject.visit("postgres")
        options = ["-n", "-S", "-c", 8, "-j", 2, "-T", max(1, round(seconds))]
        told = _run("pgbench", "-h", where.address, "-p", where.port, "-U", "postgres", *options, "postgres")
        return {"rate": parse_pgbench(told)}


def parse_pgbench(output: str) -> float:
    """Transactions a second, connecting left out."""
    found = re.search(r"tps = ([\d.]+) \(without", output)
    if found is None:
        raise LoadFailed(f"pgbench tells no tps: {output}")
    return float(found[1])


def _redis(where: Visit, count: int, *options: object) -> float:
    asked = ["-t", "set", "-c", 50, "-n", count, *options, "--csv"]
    return parse_redis(_run("redis-benchmark", "-h", where.address, "-p", where.port, *asked))


def parse_redis(output: str) -> float:
    """Commands a second."""
    rows = [row for row in csv.reader(output.splitlines()) if row[:1] == ["SET"]]
    if not rows:
        raise LoadFailed(f"redis-benchmark tells nothing of SET: {output}")
    return float(rows[0][1])


class Redis(Row):
    """SET of 3 bytes on 50 connections, one command after the other on each."""

    name, family = "redis", "tcp"
    setup = Setup(("redis", "echo"))
    metrics = (Metric("rate", "Redis SET, 50 connections", "1/s", (Goal(0.5, "direct"),)),)

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        return {"rate": _redis(subject.visit("redis"), int(seconds * 15_000))}


class RedisLarge(Row):
    """SET of 100 kB."""

    name, family = "redis-large", "tcp"
    setup = Setup(("redis", "echo"))
    quick = False
    metrics = (Metric("rate", "Redis SET of 100 kB, 50 connections", "1/s", (Goal(0.3, "direct"),)),)

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        return {"rate": _redis(subject.visit("redis"), int(seconds * 1_000), "-d", 100_000)}


class Iperf(Row):
    """One stream from the visitor to the upstream."""

    name, family = "iperf", "tcp"
    setup = Setup(("iperf",))
    quick = False
    metrics = (Metric("rate", "iperf3", "MB/s", (Goal(0.3, "direct"),)),)

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        where = subject.visit("iperf")
        told = _run("iperf3", "-c", where.address, "-p", where.port, "-t", max(1, round(seconds)), "-J")
        return {"rate": parse_iperf(told)}


def parse_iperf(output: str) -> float:
    """MB/s that were received."""
    return float(json.loads(output)["end"]["sum_received"]["bits_per_second"]) / 8e6


class Connect(Row):
    """Connect, send a byte, get it back."""

    name, family = "connect", "tcp"
    setup = Setup(("redis", "echo"))
    metrics = (Metric("p50", "TCP connect and one round trip, p50", "ms", (Goal(0.5),), less=True),)

    def measure(self, subject: Subject, seconds: float) -> dict[str, float]:
        return {"p50": percentile(round_trips(subject.visit("echo"), seconds), 50)}
