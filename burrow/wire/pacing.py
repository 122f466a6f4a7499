"""
How much a session keeps under way, and how much it hands to its connection at a time. No I/O, no clock.

Whatever waits in a queue of the line, in a home router or in the kernel, is waited for by the next small
request. So no more is kept under way than the line carries in its own round trip and L{QUEUE} seconds more.

What is measured: a yamux ping goes with every few messages. Any implementation of yamux answers pings at
once, in whatever language and release, with the resume envelope or without (whose acknowledgements may come
every 64 KiB only). The answer says that everything before was received, and how long that took.

How the window follows. What is measured in one round trip is judged together, by the shortest time, since
jitter only adds (as in TCP Vegas, Brakmo and Peterson 1995, and LEDBAT, RFC 6817). The shortest of the last
L{BASE_FOR} seconds is taken for the line's own. QUEUE, below, is L{QUEUE}, or a twelfth of the line's own
round trip, or the time of two of the smallest messages::

    time, against the line's own           the window
    up to QUEUE / 2 longer                 grows: by a frame, then by twice as much each time
    up to QUEUE longer                     grows by a frame, or a 64th
    longer                                 becomes what the line carried in its own round trip and QUEUE / 2
    longer, and two cuts did not help      stays: the queue is somebody else's, or the line became longer
    for BASE_FOR seconds none was lower    for two round trips less than the line holds, to see it empty

Cutting to what was carried, and the look at the empty line, are those of BBR
(draft-cardwell-iccrg-bbr-congestion-control). Equal steps up and cuts in proportion share a line evenly (Chiu
and Jain 1989). Where cuts cost throughput, though times were long, the line jitters or is shared: QUEUE is
then taken for more, by what the shortest times swing. What the user did not fill says nothing of the line: no
cut (RFC 7661). TCP below does its own congestion control; this keeps it from filling the line's queue.
"""

from __future__ import annotations

from math import inf

QUEUE = 0.003
"""Seconds that the last byte may wait in queues on its way."""

BASE_FOR = 10.0
"""Seconds for which a round trip counts as the line's own."""

TURN = 0.001
"""Seconds of the line that one pull takes, about: the time for which others wait."""

MIN_PULL, MAX_PULL = 2 * 1024, 256 * 1024
MAX_FRAME = 16 * 1024
"""
Bytes of payload in one Data frame of ours, at most, so that the next stream's turn comes soon. On a fast line
it is a quarter of a pull, whose frames arrive together anyway: 50 streams of 100 kB take a quarter less CPU.
"""

SHARED_PULL, SHARED_FOR = 32 * 1024, 0.1
"""
Bytes of a pull at most, for so many seconds after small frames went out beside bulk: the next ones wait for
one pull at each end. A small request beside bulk takes a third less (p50 on a loopback), and bulk alone has
the long pulls, which carry a sixth more.
"""

FIRST_WINDOW = 64 * 1024
"""Bytes under way before anything was measured."""

MIN_WINDOW, MAX_WINDOW = 2 * MIN_PULL, 64 * 1024 * 1024

SILENCE = 10.0
"""Seconds without an answer after which a peer is taken for one that answers no pings, and is sent all."""

# What is judged together: so many measurements, within so many seconds, of a round trip's time at least.
_MIN_ROUND = 0.005
_PAUSE = 0.1
_FASTEST = 2.0
_USELESS_CUTS = 2
_SAMPLES = 4
_MAX_SWING = 0.05
_SWINGS = 6
_MASK = 0xFFFFFFFF


class Pacer:
    """
    One direction of one connection. All times are seconds of any monotonic clock.

    @ivar full: whether nothing but control frames should be sent before the next answer.
    @ivar due: whether the next message should begin with a ping.
    @ivar pull: bytes to send in one message. @ivar frame: bytes of payload in one frame.
    @ivar window: bytes that may be under way.
    """

    __slots__ = (
        # Bytes since the session began: sent, of which the peer has answered, and before the end of the last
        # ping; the pings that wait (value, bytes sent with it, time), and when one was answered last.
        *("_sent", "_delivered", "_pinged", "_pings", "_heard_at"),
        # What this round trip measured: its first moment, what was delivered then and what has to be at its
        # end; the shortest time, the sum and the number; the most under way; whether something always waited
        # to be sent, and whether once nothing did.
        *("_round_at", "_round_begin", "_round_end"),
        *("_low", "_sum", "_count", "_peak", "_limited", "_emptied"),
        # The line's own round trip, and when it was seen; the queue that is tolerated; the best rate lately.
        *("_base", "_base_at", "_target", "_best"),
        # Lately: how far the mean is above the shortest time, how far the shortest swings (and the last one),
        # and, from 0 to 1, whether cuts cost throughput.
        *("_spread", "_swing", "_last_low", "_hurt"),
        # Bytes by which the window grows in the next round trip; in this one, a byte answered within _calm.
        *("_growth", "_adding", "_calm"),
        # How many cuts in a row, from which window and rate, the excess before the first, and the window.
        *("_cuts", "_cut_from", "_cut_rate", "_first_excess", "_before_cuts"),
        # Whether a cut, or the look at the empty line, is not in what comes back yet; whether that look goes
        # on; whether the line was ever found full.
        *("_settling", "_probing", "_known"),
        # Bytes of a pull, at most, and until when that is less than usual; bytes from one ping to the next.
        *("_longest", "_shared_until", "_every"),
        *("due", "frame", "full", "pull", "window"),
    )
    _low: float
    _sum: float
    _count: int
    _peak: int

    def __init__(self) -> None:
        self._sent = 0
        self.reset()

    def reset(self) -> None:
        """A new connection begins, of which nothing is known. Nothing is under way."""
        self._pings: list[tuple[int, int, float]] = []
        self._delivered = self._pinged = self._sent
        self._heard_at = 0.0
        self._base, self._base_at = inf, 0.0
        self._target = QUEUE
        self._spread = self._swing = self._last_low = 0.0
        self._growth = MAX_WINDOW
        self._adding = _FASTEST
        self._calm = QUEUE
        self._settling = self._probing = self._known = False
        self._cuts = self._cut_from = 0
        self._best = self._cut_rate = self._hurt = 0.0
        self._first_excess = 0.0
        self._before_cuts = 0
        self.full = self.due = False
        self._longest, self._shared_until = MAX_PULL, 0.0
        self._resize(FIRST_WINDOW)
        self._begin_round(-_PAUSE)

    # -- what is sent --------------------------------------------------------------------------

    def sent(
        self, amount: int, now: float, more: bool, ping: int | None = None, shared: bool = False
    ) -> None:
        """
        Count a message that goes out now.

        @param more: whether something waits to be sent still. @param ping: the value of the ping in it.
        @param shared: whether it has small frames beside bulk: see L{SHARED_PULL}.
        """
        self._sent = sent = self._sent + amount
        if shared:
            self._shared_until = now + SHARED_FOR
            self._limit(SHARED_PULL)
        elif self._longest < MAX_PULL and now >= self._shared_until:
            self._limit(MAX_PULL)
        if ping is None and not self._pings and not more and 2 * amount < self.pull:
            self._delivered = self._pinged = sent  # a small message, and nothing behind it: not measured
            self._emptied = True
            self.due = False
            return
        if ping is not None:
            if not self._pings:
                # What went out before was not measured to its end, and is taken for delivered.
                self._delivered = sent - amount
                if now - self._heard_at >= _PAUSE:
                    self._begin_round(now)
                self._heard_at = now
            self._pings.append((ping, sent, now))
            self._pinged = sent
        under_way = sent - self._delivered
        if under_way > self._peak:
            self._peak = under_way
        self.due = sent - self._pinged >= self._every or (more and not self._pings)
        if more:
            self._limited = True
        if under_way >= self.window and self._pings:
            self.full = True
        elif not more and 2 * under_way < self.window:
            self._emptied = True

    # -- what comes back -----------------------------------------------------------------------

    def answered(self, ping: int, now: float) -> bool:
        """
        A ping was answered, and with it those before it.

        @return: whether it was one of those that L{sent} was told of.
        """
        pings = self._pings
        if not pings or (ping - pings[0][0]) & _MASK > (pings[-1][0] - pings[0][0]) & _MASK:
            return False
        last, before = -1, self._delivered
        while pings and (ping - pings[0][0]) & _MASK <= _MASK >> 1:
            last, self._delivered, at = pings.pop(0)
        if last == ping:
            self._heard_at = now
            round_trip = now - at
            self._sum += round_trip
            self._count += 1
            if round_trip < self._low:
                self._low = round_trip
            if self._adding and round_trip <= self._calm:
                self._resize(self.window + int((self._delivered - before) * self._adding))
            if self._base == inf or (
                self._delivered >= self._round_end
                and self._count >= (1 if self._probing else _SAMPLES)
                and now - self._round_at >= max(self._base, _MIN_ROUND)
            ):
                self._judge(now)
        self.full = bool(pings) and self._sent - self._delivered >= self.window
        return last == ping

    def measured(self, round_trip: float, now: float) -> None:
        """A round trip was measured by another ping: the line's own, until others are known. 0: none was."""
        if round_trip and self._base == inf:
            self._base, self._base_at = round_trip, now
            self._calm = round_trip + QUEUE

    def sweep(self, now: float) -> None:
        """To be called once a second: send on if answers are missing, which some peers drop in a rush."""
        silent = now - self._heard_at
        patience = SILENCE if self._base == inf else min(max(1.0, 4 * (self._base + self._target)), SILENCE)
        if self._pings and silent >= patience:
            self.full = False
            self.due = True
            if silent >= SILENCE:
                self._pings.clear()
                self._resize(MAX_WINDOW)

    def finish(self) -> None:
        """All that waits is to be sent now, since the connection is to be closed."""
        self._pings.clear()
        self.full = self.due = False
        self.pull = MAX_PULL

    # -- inside --------------------------------------------------------------------------------

    def _judge(self, now: float) -> None:
        """A round trip is over: change the window by what was measured."""
        rate = (self._delivered - self._round_begin) / max(now - self._round_at, 1e-6)
        low, mean = self._low, self._sum / self._count
        used = 4 * self._peak >= self.window
        limited = self._limited and not self._emptied
        self._begin_round(now)
        self._adding = 0.0
        if low < self._base:
            self._base, self._base_at = low, now
        if self._probing:
            self._look_at_the_empty_line(low, now)
            return
        if now - self._base_at > BASE_FOR:
            if limited:
                self._probing = self._settling = True
                self._before_cuts = self.window
                self._resize(int(rate * self._base * 0.8))
            else:
                self._base, self._base_at = low, now
            return
        if self._settling:  # what this round trip measured was sent before the cut
            self._settling = False
            return
        if self._cut_from:  # the first round trip after a cut
            lost = 1 - rate / self._cut_rate
            hurts = lost > 0.5 * (1 - self.window / self._cut_from)
            self._hurt = min(self._hurt + 0.5, 1.0) if hurts else 0.95 * self._hurt
            self._cut_from = 0
        excess = low - self._base
        self._swing += (abs(low - self._last_low) - self._swing) / 8 if self._last_low else 0.0
        self._last_low = low
        self._spread += (mean - low - self._spread) / 8
        self._best = max(rate, 0.95 * self._best)
        tolerated = min(_SWINGS * self._hurt * self._swing, _MAX_SWING)
        self._target = target = max(QUEUE, self._base / 12, 2 * MIN_PULL / self._best) + tolerated
        # A line that was never found full is not found so by what its user did not fill, such as many small
        # answers at once, which wait for the peer's processor: its window grows, so that they wait for none.
        if excess <= target or not (self._known or limited):
            self._cuts = 0
            if excess > target / 2 or mean - self._base > target + self._base / 8:
                self._growth = max(MIN_PULL, self.window // 64)
            if used:
                self._calm = self._base + max(target, self._base / 8) + self._spread
                self._adding = min(self._growth / self.window, _FASTEST)
                self._growth = min(2 * self._growth, MAX_WINDOW)
        elif limited:
            self._cut(rate, excess, now)

    def _cut(self, rate: float, excess: float, now: float) -> None:
        if not self._cuts:
            self._first_excess = excess
        self._known = True
        self._growth = MIN_PULL
        self._cuts += 1
        if self._cuts > _USELESS_CUTS and excess > 0.7 * self._first_excess:
            self._cuts = 0
            self._base += excess
            self._base_at = now
            return
        self._settling = True
        spread = min(self._spread, self._target + self._base / 8)
        wanted = int(rate * (self._base + self._target / 2 + spread))
        if wanted < self.window:
            self._cut_from, self._cut_rate = self.window, rate
            self._resize(max(wanted, self.window // 4))

    def _look_at_the_empty_line(self, low: float, now: float) -> None:
        if self._settling:
            self._settling = False
            return
        self._probing = False
        self._base, self._base_at = low, now
        self._resize(self._before_cuts)

    def _begin_round(self, now: float) -> None:
        self._round_at = now
        self._round_begin = self._delivered
        self._round_end = self._sent
        self._low = inf
        self._sum = 0.0
        self._count = 0
        self._limited = self._emptied = False
        self._peak = 0

    def _limit(self, longest: int) -> None:
        self._longest = longest
        self._resize(self.window)

    def _resize(self, window: int) -> None:
        self.window = window = min(max(window, MIN_WINDOW), MAX_WINDOW)
        base = self._base if self._base < inf else 0.0
        share = TURN / (base + self._target)
        pull = min(max(int(window * min(share, 0.25)), MIN_PULL), MAX_PULL)
        self._every = min(2 * pull, window // 4)
        self.pull = pull = min(pull, self._longest)
        self.frame = max(min(pull, MAX_FRAME), pull // 4)
