"""
A line between two ends: a relay in a process of its own that limits the rate, delays, and has a queue.

    python -m bench.relay PORT [--rate BITS] [--delay SECONDS] [--queue BYTES] [--shape up|down|both]

It listens on a free port, which it prints, and forwards each connection to PORT. "up" is the direction from
the side that connects. All connections share the line: one queue a direction, first in, first out. A byte
leaves the queue when the line has carried everything before it at C{rate}, and arrives C{delay} later. When
C{queue} bytes wait, nothing more is read, and the senders wait: a line that loses nothing, with a full queue
in front of it. The sockets have small buffers where the rate is limited, so that what waits, waits here.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import select
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

WHOLE = 256 << 10
"""Bytes read at once where no rate is limited."""

SEGMENT = 1400
"""Bytes read at once where the rate is limited, and the largest TCP segment there: as on a real line."""

SMALL = 8 << 10
"""Bytes of each socket's buffers where the rate is limited."""

IN_FLIGHT = 64 << 20
"""Bytes under way in one direction, at most, where no rate is limited."""


@dataclass(frozen=True)
class Line:
    """
    How a line is.

    @ivar rate: bits a second; None for no limit.
    @ivar delay: seconds that a byte takes, each way.
    @ivar queue: bytes that wait in front of a line that is busy, at most.
    """

    rate: float | None = None
    delay: float = 0.0
    queue: int = IN_FLIGHT

    @property
    def bytes_per_second(self) -> float:
        return self.rate / 8 if self.rate else float("inf")


class Direction:
    """One direction of the line: what is under way, in order."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.chunk = SEGMENT if line.rate else WHOLE
        self.free = 0.0  # when the line has carried all that was put into the queue
        self.under_way: collections.deque[tuple[float, Pipe, bytes]] = collections.deque()
        self.bytes = 0

    def room_at(self, now: float) -> float:
        """The time at which one more chunk may be read."""
        if self.line.rate is None:
            return now if self.bytes < self.line.queue else float("inf")
        return self.free - (self.line.queue - self.chunk) / self.line.bytes_per_second

    def put(self, pipe: Pipe, data: bytes, now: float) -> None:
        self.free = max(self.free, now) + len(data) / self.line.bytes_per_second
        self.under_way.append((self.free + self.line.delay, pipe, data))
        self.bytes += len(data)

    def arrived(self, now: float) -> None:
        """Hand on what has arrived."""
        under_way = self.under_way
        while under_way and under_way[0][0] <= now:
            _, pipe, data = under_way.popleft()
            self.bytes -= len(data)
            pipe.arrived(data)


class Pipe:
    """One direction of one connection. An empty chunk is its end."""

    def __init__(self, source: socket.socket, target: socket.socket, direction: Direction) -> None:
        self.source, self.target, self.direction = source, target, direction
        self.waiting: collections.deque[memoryview] = collections.deque()
        self.waiting_bytes = 0
        self.ended = self.closed = False

    @property
    def reads(self) -> bool:
        """Whether more may be read, as far as the target is concerned."""
        return not self.ended and self.waiting_bytes < self.direction.line.queue

    def read(self, now: float) -> bool:
        """@return: whether there was something."""
        try:
            data = self.source.recv(self.direction.chunk)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        self.ended = not data
        self.direction.put(self, data, now)
        return True

    def arrived(self, data: bytes) -> None:
        self.waiting.append(memoryview(data))
        self.waiting_bytes += len(data)
        self.write()

    def write(self) -> None:
        waiting = self.waiting
        try:
            while waiting:
                data = waiting[0]
                if not data:
                    self.closed = True
                    waiting.clear()
                    self.target.shutdown(socket.SHUT_WR)
                    return
                sent = self.target.send(data)
                self.waiting_bytes -= sent
                if sent == len(data):
                    waiting.popleft()
                else:
                    waiting[0] = data[sent:]
        except BlockingIOError:
            return
        except OSError:
            self.ended = self.closed = True
            waiting.clear()
            self.waiting_bytes = 0


class Relay:
    """The loop. One thread, and select: it waits with a resolution of microseconds, epoll with one of ms."""

    def __init__(self, port: int, up: Line, down: Line) -> None:
        self._target = port
        self._slow = bool(up.rate or down.rate)
        self.up, self.down = Direction(up), Direction(down)
        self._listener = socket.socket()
        self._prepare(self._listener)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(256)
        self.port = self._listener.getsockname()[1]
        self._pipes: list[Pipe] = []

    def _prepare(self, one: socket.socket) -> None:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._slow:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = socket.socket()
        self._prepare(far)
        try:
            far.connect(("127.0.0.1", self._target))
        except OSError:
            near.close()
            far.close()
            return
        for one in (near, far):
            self._prepare(one)
            one.setblocking(False)
        self._pipes += [Pipe(near, far, self.up), Pipe(far, near, self.down)]

    def run(self) -> None:
        """For ever."""
        turn = 0
        while True:
            now = time.monotonic()
            for direction in (self.up, self.down):
                direction.arrived(now)
            self._forget_closed()
            due, may_read = [], []
            for direction in (self.up, self.down):
                if direction.under_way:
                    due.append(direction.under_way[0][0])
                opens = direction.room_at(now)
                if opens <= now:
                    may_read += [pipe for pipe in self._pipes if pipe.direction is direction and pipe.reads]
                elif opens != float("inf"):
                    due.append(opens)
            sources = {pipe.source: pipe for pipe in may_read}
            targets = {pipe.target: pipe for pipe in self._pipes if pipe.waiting}
            timeout = max(0.0, min(due) - now) if due else None
            readable, writable, _ = select.select([self._listener, *sources], list(targets), [], timeout)
            if self._listener in readable:
                readable.remove(self._listener)
                self._accept()
            for target in writable:
                targets[target].write()
            now = time.monotonic()
            turn += 1
            first = turn % len(readable) if readable else 0
            for source in readable[first:] + readable[:first]:  # connections take turns at the queue
                pipe = sources[source]
                if pipe.direction.room_at(now) <= now:
                    pipe.read(now)

    def _forget_closed(self) -> None:
        """Close connections of which both directions have ended."""
        closed = [pipe for pipe in self._pipes if pipe.closed]
        for pipe in closed:
            other = next(one for one in self._pipes if one.source is pipe.target)
            if other.closed or not pipe.ended:
                self._pipes = [one for one in self._pipes if one is not pipe and one is not other]
                pipe.source.close()
                pipe.target.close()
                return


def start(port: int, line: Line, shape: str = "both") -> tuple[subprocess.Popen[str], int]:
    """A relay in a process of its own: the process, and the port to connect to."""
    command = [sys.executable, "-m", "bench.relay", str(port), "--delay", str(line.delay)]
    command += ["--queue", str(line.queue), "--shape", shape]
    if line.rate:
        command += ["--rate", str(line.rate)]
    root = Path(__file__).parents[1]  # the present folder may be another checkout's
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m bench.relay")
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--queue", type=int, default=IN_FLIGHT)
    parser.add_argument("--shape", choices=("up", "down", "both"), default="both")
    given = parser.parse_args()
    shaped, open_line = Line(given.rate, given.delay, given.queue), Line(None, given.delay)
    relay = Relay(
        given.port,
        shaped if given.shape in ("up", "both") else open_line,
        shaped if given.shape in ("down", "both") else open_line,
    )
    print(relay.port, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        relay.run()


if __name__ == "__main__":
    main()
