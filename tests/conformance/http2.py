"""h2spec, nghttp and h2load against the edge: each case has the verdict that its authors want."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from tests.conformance import suites
from tests.conformance.tunnels import Tunnels
from tests.conformance.verdicts import Comparison
from tests.e2e.harness import Upstream, reply

PATIENCE = 300
"""Seconds for one program."""

BODY = 3_000_000
"""Bytes of an upload: many times the windows."""

PLAIN = {
    "http2/3.5 Sends invalid connection preface": "the plain port speaks HTTP/1.1, too: what does not begin "
    "with the preface is a request of HTTP/1.1, whose answer is 400 (RFC 9113, section 3.4)",
}
"""What h2spec says where the port has no TLS, and so no ALPN that says which HTTP it is."""


def _read_chunks(handler) -> tuple[bytes, list[bytes]]:
    """The chunks of a request's body, and the lines of its trailers."""
    body = b""
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    trailers = []
    while line := handler.rfile.readline().strip():
        trailers.append(line)
    return body, trailers


def _answer(handler) -> None:
    """1 KiB; to a request with a body, its SHA-256, with the request's trailers behind it."""
    trailers: list[bytes] = []
    if handler.headers.get("Transfer-Encoding"):
        body, trailers = _read_chunks(handler)
    else:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    if not body:
        reply(handler, b"x" * 1024)
        return
    digest = hashlib.sha256(body).hexdigest().encode()
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n%s\r\n0\r\n" % (len(digest), digest))
    handler.wfile.write(b"".join(line + b"\r\n" for line in trailers) + b"\r\n")


def _run(tunnels: Tunnels, command: list[str | Path]) -> str:
    """What a program says; and, in its last line, its exit code."""
    env = {**os.environ, "SSL_CERT_FILE": str(tunnels.world().ca_file)}
    try:
        done = subprocess.run(
            suites.with_names(tunnels.hosts, command),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            env=env,
        )
    except subprocess.TimeoutExpired:
        return f"no end within {PATIENCE} s"
    return f"{done.stdout.decode(errors='replace')}\nexit code {done.returncode}"


def _wanted(name: str, seen: Mapping[str, str], explained: Mapping[str, str] | None = None) -> Comparison:
    return Comparison(name, dict.fromkeys(seen, "pass"), seen, explained=explained or {}, reference="wanted")


def h2spec(tunnels: Tunnels) -> list[Comparison]:
    """All cases, the strict ones too, against the TLS port and against the plain one."""
    programs, version = suites.go_programs(
        "h2spec", "github.com/summerwind/h2spec", {"h2spec": "github.com/summerwind/h2spec/cmd/h2spec"}
    )
    service = Upstream(_answer)
    results = []
    for tls in (True, False):
        world, host = tunnels.open("h2spec", service.port, tls=tls)
        report = tunnels.folder / f"h2spec-{tls}.xml"
        command: list[str | Path] = [programs / "h2spec", "--strict", "-h", host, "-j", report, "-o", "5"]
        command += ["-t", "-k", "-p", str(world.https)] if tls else ["-p", str(world.http)]
        said = _run(tunnels, command)
        seen = _reported(report) if report.exists() else {"all": said[-500:]}
        name = f"h2spec {version.removesuffix('+incompatible')}, "
        results.append(_wanted(name + ("TLS" if tls else "h2c"), seen, {} if tls else PLAIN))
    service.close()
    return results


def _reported(report: Path) -> dict[str, str]:
    """The verdicts of a JUnit report."""
    verdicts = {}
    for case in ElementTree.parse(report).iter("testcase"):
        wrong = [part for part in case if part.tag in ("failure", "error", "skipped")]
        verdict = " ".join(f"{part.tag}: {' '.join((part.text or '').split())}" for part in wrong)
        verdicts[f"{case.get('package')} {case.get('classname')}"] = verdict or "pass"
    return verdicts


def nghttp(tunnels: Tunnels) -> list[Comparison]:
    """nghttp2's client: streams, uploads, trailers, padding, priorities, windows, CONTINUATION, 100."""
    client = suites.program("nghttp", "nghttp2-client")
    service = Upstream(_answer)
    sent = tunnels.folder / "body"
    sent.write_bytes(os.urandom(BODY))
    digest = hashlib.sha256(sent.read_bytes()).hexdigest()
    upload = ["-d", str(sent)]
    trailing = [*upload, "--trailer", "x-sum: 17"]
    answered = r":status: 200"
    cases: dict[str, tuple[list[str], str, int]] = {
        # options, what the output must have, and how often
        "one request": (["-nv"], answered, 1),
        "500 requests": (["-ns", "-m", "500"], r" 200 +1K /$", 500),
        "500 requests, 10 at a time": (["-ns", "-m", "500", "-M", "10"], r" 200 +1K /$", 500),
        "without priorities": (["-nv", "--no-dep"], answered, 1),
        "weight 256": (["-nv", "-p", "256"], answered, 1),
        "without RFC 7540's priorities": (["-nv", "--no-rfc7540-pri"], answered, 1),
        "upload": (upload, digest, 1),
        "20 uploads": ([*upload, "-m", "20"], digest, 20),
        "upload without a length": ([*upload, "--no-content-length"], digest, 1),
        "padding": ([*upload, "-b", "255"], digest, 1),
        "trailers": ([*trailing, "--no-content-length", "-v"], r"recv \(stream_id=\d+\) x-sum: 17", 1),
        "trailers behind a length": (trailing, digest, 1),
        "100-continue": ([*upload, "--expect-continue", "-v"], digest, 1),
        "100-continue is answered": ([*upload, "--expect-continue", "-nv"], r":status: 100", 1),
        "CONTINUATION": (["-nv", "--continuation"], answered, 1),
        "small windows": (["-nv", "-w", "8", "-W", "10"], answered, 1),
        "large windows": (["-nv", "-w", "30", "-W", "30"], answered, 1),
        "no table for heads": (["-nv", "-c", "0"], answered, 1),
        "a large table for heads": (
            ["-nv", "-c", "65536", "--encoder-header-table-size", "65536"],
            answered,
            1,
        ),
        "push refused": (["-nv", "--no-push"], answered, 1),
        "HEAD": (["-nv", "-H", ":method: HEAD"], answered, 1),
    }
    seen = {}
    for tls in (True, False):
        world, host = tunnels.open("nghttp", service.port, tls=tls)
        url = f"https://{host}:{world.https}/" if tls else f"http://{host}:{world.http}/"
        for case, (options, pattern, times) in cases.items():
            said = _run(tunnels, [client, *options, url])
            found = len(re.findall(pattern, said, re.MULTILINE))
            right = found == times and said.endswith("exit code 0")
            verdict = "pass" if right else f"{found} of {times} times {pattern!r}: {said[-300:]}"
            seen[f"{case}, {'TLS' if tls else 'h2c'}"] = verdict
    service.close()
    return [_wanted(_version(client), seen)]


def h2load(tunnels: Tunnels) -> list[Comparison]:
    """nghttp2's load generator: a thousand requests in several shapes."""
    client = suites.program("h2load", "nghttp2-client")
    service = Upstream(_answer)
    sent = tunnels.folder / "body"
    sent.write_bytes(os.urandom(BODY // 10))
    cases = {
        "4 connections, 25 streams": ["-n", "1000", "-c", "4", "-m", "25"],
        "1 connection, 100 streams": ["-n", "1000", "-c", "1", "-m", "100"],
        "50 connections, 1 stream": ["-n", "1000", "-c", "50", "-m", "1"],
        "2 connections, 20 uploads": ["-n", "200", "-c", "2", "-m", "20", "-d", str(sent)],
        "small windows": ["-n", "1000", "-c", "4", "-m", "25", "-w", "10", "-W", "12"],
    }
    seen = {}
    for tls in (True, False):
        world, host = tunnels.open("h2load", service.port, tls=tls)
        url = f"https://{host}:{world.https}/" if tls else f"http://{host}:{world.http}/"
        for case, options in cases.items():
            said = _run(tunnels, [client, *options, url])
            count = options[1]
            line = re.search(r"^requests: .*", said, re.MULTILINE)
            codes = re.search(r"^status codes: .*", said, re.MULTILINE)
            right = line and f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in line[0]
            right = right and codes and f"{count} 2xx" in codes[0]
            seen[f"{case}, {'TLS' if tls else 'h2c'}"] = "pass" if right else said[-500:]
    service.close()
    return [_wanted(_version(client), seen)]


def _version(client: str) -> str:
    return subprocess.run([client, "--version"], capture_output=True, text=True).stdout.strip()
