"""
The Autobahn test suite for WebSockets, against echo servers.

C{kosoku} runs its cases on Python 3, without TLS: so beside a server without TLS, relays bring its
connections to the one with TLS, by HTTP/1.1 and by HTTP/2. C{wstest} is the suite's own program, for Python
2.7; it speaks TLS itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conformance import suites
from tests.conformance.relays import Http2Relay, Relay
from tests.conformance.tunnels import Tunnels
from tests.conformance.verdicts import Comparison
from tests.e2e.harness import free_port

PATIENCE = 3600
"""Seconds for one run of the cases."""

TRIES = 3
"""How often kosoku 0.1 is run that a signal ended: one run of some thirty aborted (SIGABRT)."""

BASIC = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*")
COMPRESSED = ("12.1.1", "12.1.5", "12.1.9", "12.2.3", "13.1.2", "13.2.3", "13.5.4", "13.7.5")
"""Of the 216 cases of permessage-deflate, some: each sends a thousand messages."""

EVERY_COMPRESSED = ("12.*", "13.*")

PASSING = ("OK", "NON-STRICT", "INFORMATIONAL")

everything = False
"""Whether to run all cases of permessage-deflate: gigabytes, and half an hour through each tunnel."""

EXPLAINED = {
    "7.1.5": "websockets answers a close frame within a fragmented message by 1002: the suite wants 1000",
}
"""What the echo servers do, without a tunnel as with one."""

BY_SEGMENTS = frozenset(
    [
        *("3.2", "3.3", "3.4", "4.1.3", "4.1.4", "4.1.5", "4.2.3", "4.2.4", "4.2.5"),
        *("5.15", "6.4.1", "6.4.2", "6.4.3", "6.4.4"),
    ]
)
"""
Cases that send an error right behind a message, and are OK if its echo came first, else NON-STRICT: whether
the server reads both at once, and drops the message with the connection, is chance without a tunnel, too.
"""

OUTSIDE = Path(__file__).parent / "outside"


def _cases(*, compressed: bool) -> list[str]:
    if not compressed:
        return list(BASIC)
    return [*BASIC, *(EVERY_COMPRESSED if everything else COMPRESSED)]


def _environment() -> tuple[Path, str]:
    """The interpreter with kosoku and websockets, and their versions."""
    interpreter = suites.python_venv("kosoku", "kosoku", "websockets")
    versions = [f"{name} {suites.version_in(interpreter, name)}" for name in ("kosoku", "websockets")]
    return interpreter, ", ".join(versions)


def _echo(tunnels: Tunnels, interpreter: Path | str, program: str, *arguments: str) -> int:
    port = free_port()
    tunnels.service([interpreter, OUTSIDE / program, str(port), *arguments], "ready")
    return port


def _verdict(case: str, behavior: str, close: str, code: int | None) -> str:
    if case in BY_SEGMENTS and behavior in ("OK", "NON-STRICT"):
        behavior = "OK or NON-STRICT"
    return f"{behavior}, {close}, {code}"


def _by_kosoku(interpreter: Path, tunnels: Tunnels, address: str, cases: list[str]) -> dict[str, str]:
    command = [interpreter, OUTSIDE / "run_kosoku.py", address, *cases]
    for _ in range(TRIES):
        done = subprocess.run(
            suites.with_names(tunnels.hosts, command), stdout=subprocess.PIPE, text=True, timeout=PATIENCE
        )
        if done.returncode >= 0:
            break
    if done.returncode:
        raise suites.Missing(f"kosoku at {address} ended with code {done.returncode} and without verdicts")
    return {case: _verdict(case, *said) for case, said in json.loads(done.stdout).items()}


def kosoku(tunnels: Tunnels) -> list[Comparison]:
    """Each echo server directly; through HTTP/1.1 without TLS; and one also through TLS and HTTP/2."""
    interpreter, versions = _environment()
    results = []
    servers = {
        "websockets without compression": (interpreter, "echo_websockets.py", "plain"),
        "websockets with permessage-deflate": (interpreter, "echo_websockets.py", "deflate"),
        "Autobahn": (sys.executable, "echo_autobahn.py"),
    }
    for number, (server, echo) in enumerate(servers.items()):
        name = f"Autobahn's cases ({versions}), {server}, "
        explained = EXPLAINED if "websockets" in server else {}
        cases = _cases(compressed="without" not in server)
        upstream = _echo(tunnels, *echo)
        world, host = tunnels.open(f"echo{number}", upstream, tls=False)
        direct = _by_kosoku(interpreter, tunnels, f"127.0.0.1:{upstream}", cases)
        through = _by_kosoku(interpreter, tunnels, f"{host}:{world.http}", cases)
        results.append(Comparison(name + "HTTP/1.1", direct, through, PASSING, explained))
        if "without" in server:
            continue
        world, host = tunnels.open(f"echo{number}", upstream)
        for way, kind in (("HTTP/1.1 in TLS", Relay), ("HTTP/2 in TLS", Http2Relay)):
            relay = kind(host, world.https, tunnels.trust())
            try:
                through = _by_kosoku(interpreter, tunnels, f"{host}:{relay.port}", cases)
            finally:
                relay.close()
            results.append(Comparison(name + way, direct, through, PASSING, explained))
    return results


def wstest(tunnels: Tunnels) -> list[Comparison]:
    """The suite's own program, through TLS."""
    old = suites.python_venv("wstest", "autobahntestsuite", python=suites.python2())
    version = suites.version_in(old, "autobahntestsuite")
    interpreter, _ = _environment()
    upstream = _echo(tunnels, interpreter, "echo_websockets.py", "deflate")
    world, host = tunnels.open("echo", upstream)
    reports = tunnels.folder / "reports"
    specification = tunnels.folder / "wstest.json"
    servers = [
        {"agent": "direct", "url": f"ws://127.0.0.1:{upstream}"},
        {"agent": "tunnel", "url": f"wss://{host}:{world.https}", "hostname": host},
    ]
    verdicts = []
    for server in servers:
        specification.write_text(
            json.dumps({"outdir": str(reports), "servers": [server], "cases": _cases(compressed=True)})
        )
        command = [old.parent / "wstest", "-m", "fuzzingclient", "-s", specification]
        subprocess.run(
            suites.with_names(tunnels.hosts, command),
            cwd=tunnels.folder,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "SSL_CERT_FILE": str(world.ca_file)},
            timeout=PATIENCE,
        )
        found = json.loads((reports / "index.json").read_text())[server["agent"]]
        verdicts.append(
            {
                case: _verdict(case, said["behavior"], said["behaviorClose"], said["remoteCloseCode"])
                for case, said in found.items()
            }
        )
    name = f"Autobahn TestSuite {version}, websockets with permessage-deflate, HTTP/1.1 in TLS"
    return [Comparison(name, *verdicts, PASSING, EXPLAINED)]
