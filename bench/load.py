"""What visitors do: requests by wrk, downloads by curl, uploads and single requests by Python."""

from __future__ import annotations

import contextlib
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from bench.subjects.base import Visit

SCRIPT = Path(__file__).with_name("wrk.lua")

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


class Load(NamedTuple):
    """
    What wrk counted.

    @ivar rate: requests a second.
    @ivar p50: milliseconds; C{p99} likewise.
    @ivar count: requests in all.
    """

    rate: float
    p50: float
    p99: float
    count: int


class LoadFailed(Exception):
    """Requests failed, so that the figure would mean nothing."""


def parse_wrk(output: str) -> Load:
    """@raise LoadFailed: wrk counted errors."""
    errors = re.search(r"Non-2xx.*|Socket errors: .*", output)
    if errors:
        raise LoadFailed(errors[0])
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    count = re.search(r"(\d+) requests in", output)
    if rate is None or count is None or not int(count[1]):
        raise LoadFailed(f"no request was answered: {output}")
    return Load(float(rate[1]), _latency(output, 50), _latency(output, 99), int(count[1]))


def _latency(output: str, percent: int) -> float:
    found = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s|m)\b", output)
    if found is None:
        raise LoadFailed(f"wrk tells no {percent} %: {output}")
    return float(found[1]) * _UNITS[found[2]]


def parse_h2load(output: str) -> tuple[float, int]:
    """
    @return: requests a second, and requests in all.
    @raise LoadFailed: h2load counted errors.
    """
    rate = re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", output)
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", output)
    statuses = re.search(r"status codes: (\d+) 2xx", output)
    if rate is None or counts is None or statuses is None or not int(counts[1]):
        raise LoadFailed(f"no request was answered: {output}")
    if int(counts[2]) or int(counts[3]) or int(statuses[1]) < int(counts[1]):
        raise LoadFailed(f"{counts[0]}; {statuses[0]}")
    return float(rate[1]), int(counts[1])


def h2load(visit: Visit, connections: int, streams: int, seconds: float) -> tuple[float, int]:
    """
    Requests for C{/} by HTTP/2, so many at a time on each connection.

    @param seconds: rounded up. @return: see L{parse_h2load}.
    """
    command = ["h2load", f"-c{connections}", f"-m{streams}", "-t1", f"-D{max(1, round(seconds))}"]
    command += [f"--connect-to={visit.address}:{visit.port}", f"https://{visit.host}:{visit.port}/"]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise LoadFailed(ended.stdout + ended.stderr)
    return parse_h2load(ended.stdout)


def wrk(visit: Visit, connections: int, seconds: float, *fields: str) -> Load:
    """
    Requests for C{/} as fast as they are answered. Over HTTPS the handshake asks for the visit's host.

    @param seconds: rounded up, since wrk takes whole seconds.
    """
    url = visit.url.replace(visit.address, visit.host)
    command = ["wrk", f"-t{min(2, connections)}", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    command += ["--latency", "-s", str(SCRIPT), "-H", f"Host: {visit.host}"]
    for field in fields:
        command += ["-H", field]
    ended = subprocess.run([*command, url], capture_output=True, text=True)
    if ended.returncode:
        raise LoadFailed(ended.stdout + ended.stderr)
    return parse_wrk(ended.stdout)


def _curl(visit: Visit, path: str) -> list[str]:
    url = visit.url.replace(visit.address, visit.host) + path
    where = ["--resolve", f"{visit.host}:{visit.port}:{visit.address}"]
    return ["curl", "-sk", "--http1.1", "--noproxy", "*", *where, "-o", "/dev/null", url]


def download(visit: Visit, seconds: float, path: str = "big") -> float:
    """Bytes a second of one download, of which no more than C{seconds} are waited for."""
    told = ["-w", "%{http_code} %{size_download} %{time_total}", "--max-time", str(seconds)]
    ended = subprocess.run([*_curl(visit, path), *told], capture_output=True, text=True)
    if ended.returncode not in (0, 28):  # 28: the time was over
        raise LoadFailed(f"curl ended with {ended.returncode}")
    code, size, took = ended.stdout.split()
    if code != "200" or not float(size):
        raise LoadFailed(f"the answer was {code}, with {size} bytes")
    return float(size) / float(took)


@contextlib.contextmanager
def downloading(visit: Visit, seconds: float) -> Iterator[Callable[[], float]]:
    """
    One download after the other, in a process of its own, for so many seconds, beside what the block does.

    @return: waits for its end, and returns the bytes a second of all that time.
    """
    command = [sys.executable, "-m", "bench.load", visit.host, str(visit.port)]
    command += [str(int(visit.tls)), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def rate() -> float:
        told, _ = process.communicate(timeout=seconds + 30)
        if not told or not float(told):
            raise LoadFailed("the download beside brought nothing")
        return float(told)

    try:
        yield rate
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _connected(visit: Visit, timeout: float) -> contextlib.closing[HTTPConnection]:
    return contextlib.closing(visit.connection(timeout))


def _download_again_and_again(visit: Visit, seconds: float) -> float:
    """Bytes a second, bodies alone."""
    room, total = bytearray(1 << 20), 0
    began = time.monotonic()
    ends = began + seconds
    while (now := time.monotonic()) < ends:
        with contextlib.suppress(TimeoutError), _connected(visit, ends - now) as one:
            one.request("GET", "/big", headers=visit.fields)
            answer = one.getresponse()
            while time.monotonic() < ends and (count := answer.readinto(room)):
                total += count
    return total / (time.monotonic() - began)


def received(visit: Visit) -> int:
    """The bytes that the sink has had of bodies."""
    with contextlib.closing(visit.connection()) as one:
        one.request("GET", "/received", headers=visit.fields)
        return int(one.getresponse().read())


def upload(visit: Visit, sink: Visit, seconds: float, limit: int) -> float:
    """
    Bytes a second of one upload, counted where they arrive.

    @param sink: the way to the sink without a tunnel, to ask it what arrived.
    @param limit: bytes of the upload; it is broken off after C{seconds}.
    """
    before, block = received(sink), memoryview(bytes(1 << 18))
    one = visit.connection(timeout=seconds + 10)
    began = time.monotonic()
    ends, left = began + seconds, limit
    try:
        one.putrequest("POST", "/", skip_host=True)
        for name, value in visit.fields.items():
            one.putheader(name, value)
        one.putheader("Content-Length", str(limit))
        one.endheaders()
        assert one.sock is not None
        one.sock.settimeout(0.2)
        while left and time.monotonic() < ends:
            with contextlib.suppress(TimeoutError):
                left -= one.sock.send(block[: min(left, len(block))])
        if not left:
            one.sock.settimeout(max(0.1, ends - time.monotonic()))
            with contextlib.suppress(TimeoutError):
                one.getresponse().read()
        took = time.monotonic() - began
        return (received(sink) - before) / took
    finally:
        one.close()


def pace(visit: Visit, seconds: float, every: float) -> list[float]:
    """
    Small requests on one connection, one C{every} seconds or as soon as the one before is answered: how long
    each took, in milliseconds.
    """
    took = []
    with contextlib.closing(visit.connection()) as one:
        one.connect()
        if not visit.tls:
            assert one.sock is not None
            one.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ends = time.monotonic() + seconds
        while (began := time.monotonic()) < ends:
            one.request("GET", "/", headers=visit.fields)
            answer = one.getresponse()
            answer.read()
            if answer.status != 200:
                raise LoadFailed(f"the answer was {answer.status}")
            ended = time.monotonic()
            took.append((ended - began) * 1e3)
            time.sleep(max(0.0, began + every - ended))
    return took


def round_trips(visit: Visit, seconds: float) -> list[float]:
    """Connect, send a byte, wait for its echo: how long each took, in milliseconds."""
    took = []
    ends = time.monotonic() + seconds
    while (began := time.monotonic()) < ends:
        with socket.create_connection((visit.address, visit.port), 10) as one:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.sendall(b"x")
            if one.recv(1) != b"x":
                raise LoadFailed("the connection ended without an echo")
            took.append((time.monotonic() - began) * 1e3)
    return took


def percentile(values: list[float], percent: float) -> float:
    """The value that so many percent do not exceed."""
    if not values:
        raise LoadFailed("nothing was measured")
    if percent == 50:
        return statistics.median(values)
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


if __name__ == "__main__":
    host, port, tls, duration = sys.argv[1:]
    print(_download_again_and_again(Visit(int(port), host, tls == "1"), float(duration)))
