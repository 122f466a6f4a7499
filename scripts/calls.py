"""
Counts the calls into burrow/ that one request causes, from the visitor's bytes to the upstream's socket and
back.

    scripts/calls             # a table
    scripts/calls --list      # each function called, in order, by file
    scripts/calls --json      # the table for programs
    scripts/calls --record    # write the table to scripts/calls.toml, which tests/test_calls.py compares with

A real server and agent (`burrow up`) run in this process, on the loopback; the visitor and the upstream are
plain sockets in another thread. `sys.setprofile` sees each call of the reactor's thread: server and agent
together.

Three requests are traced: the first one of a new TLS connection, from the accepted socket on; the next on the
same connection (keep-alive); and one more with the same head, which is remembered by then. "there" ends with
the write of the request to the upstream's socket, "back" begins with the upstream's answer and ends with the
write of it to the visitor's socket. "after" is what is called then until the process is idle:
acknowledgements, the end of a stream, the log. Each request is repeated, and the result that comes most often
is shown, since a timer may fire in between.

Comprehensions and generator expressions do not count as calls, as in Python 3.12 and later.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import socket
import ssl
import sys
import tempfile
import threading
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
RECORDED = Path(__file__).with_suffix(".toml")
sys.path.insert(0, str(ROOT))

REPEATED = 7
"""Connections that are made, and requests on the last one."""

PATIENCE = 60.0
"""Seconds until the trace is given up."""

NAME = "calls"
KINDS = ("first request of a new TLS connection", "keep-alive request", "keep-alive request, known head")
WAYS = ("there", "after there", "back", "after back")

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"

_HIDDEN = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}
_IO = {
    "Connection.doRead": "reads from",
    "Connection.writeSomeData": "writes to",
    "TurnTransport.doRead": "reads from",
    "TurnTransport.send": "writes to",
}


class Call(NamedTuple):
    """A function of burrow/ was called; or a socket was read or written (then C{file} is empty)."""

    file: str
    what: str


class Counts(NamedTuple):
    """@ivar changes: calls of a function that is in another file than the one called before it."""

    calls: int
    files: int
    changes: int


def count(calls: list[Call]) -> Counts:
    """Count what was called."""
    files = [call.file for call in calls if call.file]
    changes = sum(before != after for before, after in itertools.pairwise(files))
    return Counts(len(files), len(set(files)), changes)


class Recorder:
    """A profile function for the reactor's thread. Ports tell the sockets apart."""

    def __init__(self, https: int, upstream: int) -> None:
        self.calls: list[Call] = []
        self.visitor = 0
        self._https = https
        self._upstream = upstream
        self._known: dict[CodeType, Call | str | None] = {}

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code not in self._known:
            self._known[code] = self._classify(code)
        known = self._known[code]
        if isinstance(known, Call):
            self.calls.append(known)
        elif known is not None:
            self._socket(known, frame.f_locals["self"])

    @staticmethod
    def _classify(code: CodeType) -> Call | str | None:
        if code.co_name in _HIDDEN:
            return None
        path = Path(code.co_filename)
        ours = ROOT / "burrow" / "reactor"
        if path.is_relative_to(ROOT / "burrow") and not path.is_relative_to(ours):
            return Call(str(path.relative_to(ROOT)), code.co_qualname)
        # The reactor's own calls are not counted, ours or Twisted's: it makes some when idle, too.
        return _IO.get(code.co_qualname) if path.name == "tcp.py" or path.is_relative_to(ours) else None

    def _socket(self, does: str, connection: Any) -> None:
        try:
            here, there = connection.getHost().port, connection.getPeer().port
        except (OSError, AttributeError):
            return  # it is closed, or no TCP
        if there == self._upstream:
            text = f"the agent {does} the upstream"
        elif there == self._https:
            text = f"the agent {does} the server"
        elif here == self._https:
            text = f"the server {does} the {'visitor' if there == self.visitor else 'agent'}"
        else:
            return
        self.calls.append(Call("", text))


def split(calls: list[Call], last: str) -> tuple[list[Call], list[Call]]:
    """Everything up to the last I/O of that name, and the rest."""
    found = [number for number, call in enumerate(calls) if call == Call("", last)]
    if not found:
        raise RuntimeError(f"it was not seen that {last}")
    return calls[: found[-1] + 1], calls[found[-1] + 1 :]


Trace = dict[str, list[Call]]
"""What was called, by L{WAYS}."""


class Tracer:
    """The visitor and the upstream: runs in a thread of its own beside the reactor's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.upstream = socket.create_server(("127.0.0.1", 0))
        self.upstream.settimeout(PATIENCE)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.https: int = free.getsockname()[1]
        self._recorder = Recorder(self.https, self.upstream.getsockname()[1])
        self._ends = time.monotonic() + PATIENCE
        self.traces: dict[str, list[Trace]] = {kind: [] for kind in KINDS}
        self.error = ""

    def arguments(self) -> list[str]:
        """What C{burrow} is called with."""
        port = self.upstream.getsockname()[1]
        state, https = str(self._folder), f"127.0.0.1:{self.https}"
        unseen = ["--json", "--quiet", "--no-inspect"]
        return ["up", str(port), "--name", NAME, *unseen, "--https", https, "--state", state]

    def run(self, lines: Any) -> None:
        """Trace; then ask the process to end. C{lines}: what C{burrow up --json} writes."""
        try:
            for line in lines:
                if json.loads(line)["event"] == "ready":
                    break
            else:
                raise RuntimeError("burrow up opened no tunnel")
            self._trace()
        except Exception:
            self.error = traceback.format_exc()
        os.kill(os.getpid(), signal.SIGTERM)

    def _trace(self) -> None:
        context = ssl.create_default_context(cafile=str(self._folder / "ca.pem"))
        for number in range(REPEATED + 1):
            with contextlib.ExitStack() as stack:
                first = self._connection(context, stack)
                if number:  # what is made for the first connection of all is not traced
                    self.traces[KINDS[0]].append(first)
        for kind in KINDS[1:]:
            del self.traces[kind][:1]

    def _connection(self, context: ssl.SSLContext, stack: contextlib.ExitStack) -> Trace:
        """A new connection, and two more requests on it: a head is remembered when it comes again."""
        with self._recording() as recorder:
            plain = stack.enter_context(socket.create_connection(("127.0.0.1", self.https), PATIENCE))
            recorder.visitor = plain.getsockname()[1]
            visitor = stack.enter_context(
                context.wrap_socket(plain, server_hostname=f"{NAME}.localhost", do_handshake_on_connect=False)
            )
            visitor.do_handshake()
            self._settle()
            visitor.sendall(self._request())
            upstream, _ = self.upstream.accept()
            stack.enter_context(upstream)
            upstream.settimeout(PATIENCE)
            first = self._exchange(visitor, upstream)
        for kind in KINDS[1:]:
            with self._recording():
                visitor.sendall(self._request())
                self.traces[kind].append(self._exchange(visitor, upstream))
        return first

    @staticmethod
    def _request() -> bytes:
        fields = {"Host": f"{NAME}.localhost", "User-Agent": "scripts/calls", "Accept": "*/*"}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"GET /hello HTTP/1.1\r\n{head}\r\n".encode()

    def _exchange(self, visitor: socket.socket, upstream: socket.socket) -> Trace:
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += self._some(upstream)
        self._settle()
        there, after_there = split(self._recorder.calls, "the agent writes to the upstream")
        self._recorder.calls = []
        upstream.sendall(ANSWER)
        received = b""
        while not received.endswith(b"\r\n\r\nok"):
            received += self._some(visitor)
        self._settle()
        back, after_back = split(self._recorder.calls, "the server writes to the visitor")
        return dict(zip(WAYS, (there, after_there, back, after_back), strict=True))

    @staticmethod
    def _some(connection: socket.socket) -> bytes:
        data = connection.recv(65536)
        if not data:
            raise RuntimeError("a connection was closed before the whole message came")
        return data

    @contextlib.contextmanager
    def _recording(self) -> Iterator[Recorder]:
        from twisted.internet import reactor

        reactor: Any
        self._settle()
        self._recorder.calls = []
        reactor.callFromThread(sys.setprofile, self._recorder)
        try:
            self._turn()
            yield self._recorder
        finally:
            reactor.callFromThread(sys.setprofile, None)
            self._turn()

    def _turn(self) -> None:
        """Wait until the reactor has done what it was asked for."""
        from twisted.internet import reactor

        reactor: Any
        done = threading.Event()
        reactor.callFromThread(done.set)
        if not done.wait(PATIENCE):
            raise RuntimeError("the reactor does not answer")

    def _settle(self) -> None:
        """Wait until nothing more is called: for eight turns of the reactor."""
        quiet = 0
        while quiet < 8:
            before = len(self._recorder.calls)
            time.sleep(0.002)
            self._turn()
            quiet = quiet + 1 if len(self._recorder.calls) == before else 0
            if time.monotonic() > self._ends:
                raise RuntimeError("the process never becomes idle")


def undisturbed(traces: list[Trace]) -> Trace:
    """
    The shortest trace of those that came more than once; if none did, the shortest of all. On a busy machine
    what comes in one piece may be read in two, and most traces are longer.
    """
    counts = [tuple(count(trace[way]) for way in WAYS) for trace in traces]
    often = Counter(counts)
    best = min(often, key=lambda one: (often[one] == 1, sum(each.calls for each in one), one))
    return traces[counts.index(best)]


def trace() -> dict[str, Trace]:
    """Run a server and an agent in this process, and trace; by L{KINDS}."""
    from burrow.cli.main import main

    out = sys.stdout
    reading, writing = os.pipe()
    with tempfile.TemporaryDirectory(prefix="burrow-calls-") as folder:
        tracer = Tracer(Path(folder))
        with os.fdopen(reading) as lines, tracer.upstream:
            thread = threading.Thread(target=tracer.run, args=(lines,), daemon=True)
            try:
                with os.fdopen(writing, "w", buffering=1) as sys.stdout:
                    thread.start()
                    code = main([*tracer.arguments(), "--log-level", "warn"])
            finally:
                sys.stdout = out
                thread.join(PATIENCE)  # before what it reads is closed, which would wait for it
    if tracer.error or code:
        raise SystemExit(f"{tracer.error}the trace failed, with exit code {code} of burrow up")
    return {kind: undisturbed(traces) for kind, traces in tracer.traces.items()}


def table(counts: dict[str, dict[str, Counts]]) -> str:
    """The counts for people."""
    lines = [f"{'':<40} {'calls':>6} {'files':>6} {'changes of file':>16}"]
    for kind, ways in counts.items():
        lines.append(kind)
        lines += [f"    {way:<36} {n.calls:>6} {n.files:>6} {n.changes:>16}" for way, n in ways.items()]
    return "\n".join(lines)


def sequence(calls: list[Call]) -> str:
    """The functions called, those of one file on one line, and the I/O between them."""
    lines = []
    for file, group in itertools.groupby(calls, key=lambda call: call.file):
        if not file:
            lines += [f"  -- {call.what} --" for call in group]
        else:
            lines.append(f"  {file.removeprefix('burrow/'):<28} " + ", ".join(call.what for call in group))
    return "\n".join(lines)


def toml(counts: dict[str, dict[str, Counts]]) -> str:
    """The counts as they are recorded."""
    lines = [
        "# Written by `scripts/calls --record`: see scripts/calls.py. tests/test_calls.py allows 10 % more.\n"
    ]
    for kind, ways in counts.items():
        lines.append(f'["{kind}"]')
        for way, numbers in ways.items():
            fields = ", ".join(f"{field} = {number}" for field, number in numbers._asdict().items())
            lines.append(f'"{way}" = {{ {fields} }}')
        lines.append("")
    return "\n".join(lines)


def recorded() -> dict[str, dict[str, Counts]]:
    """What was recorded."""
    kinds = tomllib.loads(RECORDED.read_text(encoding="utf-8"))
    return {kind: {way: Counts(**numbers) for way, numbers in ways.items()} for kind, ways in kinds.items()}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="show each function, in order")
    parser.add_argument("--json", action="store_true", help="write the counts for programs")
    parser.add_argument("--record", action="store_true", help=f"write the counts to {RECORDED.name}")
    arguments = parser.parse_args()
    traces = trace()
    counts = {kind: {way: count(calls) for way, calls in ways.items()} for kind, ways in traces.items()}
    if arguments.json:
        print(
            json.dumps({kind: {way: n._asdict() for way, n in ways.items()} for kind, ways in counts.items()})
        )
        return
    if arguments.list:
        for kind, ways in traces.items():
            for way, calls in ways.items():
                print(f"\n{kind}, {way}:\n{sequence(calls)}")
        print()
    print(table(counts))
    if arguments.record:
        RECORDED.write_text(toml(counts), encoding="utf-8")


if __name__ == "__main__":
    main()
