"""A simulated line, and senders under a pacer that share it."""

import heapq
import itertools
import random

from burrow.wire.frames import HEADER_SIZE
from burrow.wire.pacing import Pacer


class Sender:
    """
    One direction of one session.

    @ivar backlog: bytes that wait to be sent; None for no end of them.
    @ivar carried: (time, bytes) of each message that arrived.
    @ivar waits: (time, seconds) that each message waited for the line and took of it.
    """

    def __init__(self, line, backlog=None, pacer=None):
        self.line, self.backlog = line, backlog
        self.pacer = Pacer() if pacer is None else pacer
        self.carried, self.waits = [], []
        self.pings = itertools.count()

    def start(self):
        """The heartbeat's first ping is answered, then there is something to send."""
        line = self.line
        self.pacer.measured(max(line.free - line.now, 0) + 2 * line.delay, line.now)
        self.flush()

    def offer(self, amount):
        self.backlog += amount
        self.flush()

    def flush(self):
        pacer = self.pacer
        while not pacer.full and self.backlog != 0:
            ping = next(self.pings) if pacer.due else None
            amount = pacer.pull if self.backlog is None else min(pacer.pull, self.backlog)
            if self.backlog is not None:
                self.backlog -= amount
            size = amount + HEADER_SIZE * (1 + (ping is not None))
            pacer.sent(size, self.line.now, self.backlog != 0, ping)
            self.line.put(self, size, ping)

    def answered(self, ping):
        self.pacer.answered(ping, self.line.now)
        self.flush()

    def sweep(self):
        """The heartbeat's check."""
        self.pacer.sweep(self.line.now)
        self.flush()
        self.line.at(self.line.now + 1, self.sweep)

    def rate(self, begin, end):
        """Bytes a second that arrived from C{begin} to C{end}."""
        return sum(size for at, size in self.carried if begin <= at < end) / (end - begin)

    def wait(self, begin, part=0.5):
        """A percentile of the waits since C{begin}."""
        waits = sorted(wait for at, wait in self.waits if at >= begin)
        return waits[int(len(waits) * part)]


class Line:
    """
    Bytes wait in a queue without end for their turn.

    @ivar rate: bytes a second. @ivar delay: seconds one way.
    @param jitter: seconds that come on top, another part of them every C{slot} seconds, each way.
    @param batch: seconds for which answers are gathered. @param lost: the part of them that never comes.
    """

    def __init__(self, rate, round_trip, *, jitter=0.0, slot=0.005, batch=0.0, lost=0.0, seed=0):
        self.rate, self.delay = rate, round_trip / 2
        self.jitter, self.slot, self.batch, self.lost = jitter, slot, batch, lost
        self.now = self.free = 0.0
        self._random = random.Random(seed)
        self._shakes = []
        self._events = []
        self._count = itertools.count()
        self._arrived = self._came_back = 0.0

    def at(self, when, what, *arguments):
        heapq.heappush(self._events, (when, next(self._count), what, arguments))

    def run(self, until):
        while self._events and self._events[0][0] <= until:
            self.now, _, what, arguments = heapq.heappop(self._events)
            what(*arguments)
        self.now = until

    def put(self, sender, size, ping):
        self.free = max(self.free, self.now) + size / self.rate
        sender.waits.append((self.now, self.free - self.now))
        self._arrived = max(self._arrived, self.free + self.delay + self._shake(self.free))  # in order
        self.at(self._arrived, self._arrive, sender, size, ping)

    def _arrive(self, sender, size, ping):
        sender.carried.append((self.now, size))
        if ping is not None and self._random.random() >= self.lost:
            back = self.now + self.delay + self._shake(self.now)
            if self.batch:
                back = (back // self.batch + 1) * self.batch
            self._came_back = max(self._came_back, back)
            self.at(self._came_back, sender.answered, ping)

    def _shake(self, now):
        if not self.jitter:
            return 0.0
        while len(self._shakes) <= now / self.slot:
            self._shakes.append(self._random.random() * self.jitter)
        return self._shakes[int(now / self.slot)]
