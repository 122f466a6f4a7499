"""Tests for L{burrow.mux.heartbeat}."""

from itertools import pairwise

from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from burrow.mux.heartbeat import DEAD_AFTER, INTERVAL, PING_EVERY, SUSPECT_AFTER, Heartbeat
from burrow.testing import SessionPair
from burrow.wire.frames import HEADER_SIZE


class Heartbeats(SynchronousTestCase):
    def setUp(self):
        self.pair = SessionPair()
        self.lost = []
        self.pair.agent.on_lost.append(self.lost.append)
        self.suspected = []
        self.looks = []
        self.heartbeat = Heartbeat(
            self.pair.clock,
            self.pair.agent,
            self.pair.agent.abort,
            on_suspect=lambda: self.suspected.append(self.pair.clock.seconds()),
            on_check=lambda: self.looks.append(self.pair.clock.seconds()),
        )
        self.heartbeat.start()

    def test_live_peer_is_kept(self):
        for _ in range(200):
            self.pair.clock.advance(0.5)
            self.pair.pump()
        self.assertEqual((self.lost, self.suspected), ([], []))
        self.heartbeat.stop()
        self.heartbeat.stop()

    def test_silent_peer_is_suspected_then_given_up(self):
        self.pair.agent_carrier.blocked = True
        ended = None
        for _ in range(100):
            self.pair.clock.advance(0.25)
            self.pair.pump()
            if self.lost and ended is None:
                ended = self.pair.clock.seconds()
        # Nothing was heard since 0.0; looks are a second apart.
        self.assertEqual((self.suspected, ended), ([SUSPECT_AFTER], DEAD_AFTER))
        self.assertEqual(len(self.lost), 1)
        self.assertEqual(self.pair.clock.getDelayedCalls(), [])

    def test_machine_that_slept_asks_anew_before_it_gives_up(self):
        for _ in range(4):
            self.pair.clock.advance(0.5)
            self.pair.pump()
        self.pair.clock.advance(3600)
        self.assertEqual((self.lost, len(self.suspected)), ([], 1))
        for _ in range(20):
            self.pair.pump()
            self.pair.clock.advance(0.5)
        self.assertEqual((self.lost, len(self.suspected)), ([], 1))
        self.heartbeat.stop()

    def test_sleep_is_no_silence(self):
        """After a sleep the peer has all its time to answer, and is asked at once."""
        self.pair.pump()
        self.pair.clock.advance(1)
        self.pair.agent_carrier.blocked = True
        self.pair.clock.advance(3600)
        woken = self.pair.clock.seconds()
        self.assertEqual(sum(map(len, self.pair.agent_carrier.sent)), HEADER_SIZE)
        while not self.lost:
            self.pair.clock.advance(0.25)
            self.pair.pump()
        self.assertEqual(self.pair.clock.seconds(), woken + DEAD_AFTER)
        self.assertEqual(self.suspected, [woken, woken + SUSPECT_AFTER])

    def test_pings_go_out_in_their_interval(self):
        pings = []
        ping = self.pair.agent.ping
        self.pair.agent.ping = lambda: pings.append(self.pair.clock.seconds()) or ping()
        self.looks.clear()
        for _ in range(12):
            self.pair.clock.advance(1)
            self.pair.pump()
        # The first was at 0; looks are a second apart, so the next comes at the third.
        self.assertEqual(pings, [3.0, 6.0, 9.0, 12.0])
        self.assertEqual(self.looks, [float(number) for number in range(1, 13)])
        self.heartbeat.stop()
        self.pair.clock.advance(100)
        self.assertEqual(len(self.looks), 12)

    def test_peer_that_is_heard_again_may_be_suspected_again(self):
        for _ in range(2):
            self.pair.agent_carrier.blocked = True
            for _ in range(6):
                self.pair.clock.advance(1)
                self.pair.pump()
            self.pair.agent_carrier.blocked = False
            for _ in range(3):
                self.pair.clock.advance(1)
                self.pair.pump()
        self.assertEqual((self.lost, len(self.suspected)), ([], 2))
        self.heartbeat.stop()

    def test_failing_callback_does_not_end_it(self):
        failing = []

        def fail():
            if failing:
                raise ZeroDivisionError

        self.heartbeat.stop()
        self.heartbeat = Heartbeat(
            self.pair.clock, self.pair.agent, self.pair.agent.abort, on_suspect=fail, on_check=fail
        )
        self.heartbeat.start()
        failing.append(True)
        self.pair.agent_carrier.blocked = True
        while not self.lost and self.pair.clock.seconds() < 100:
            self.pair.clock.advance(1)
            self.pair.pump()
        self.assertEqual(self.pair.clock.seconds(), DEAD_AFTER)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), DEAD_AFTER - 1)

    def test_late_look_is_no_sleep(self):
        self.pair.pump()
        heard = self.pair.agent.last_received
        self.pair.agent_carrier.blocked = True
        self.pair.clock.advance(5)
        self.assertEqual((self.pair.agent.last_received, len(self.suspected)), (heard, 1))
        self.pair.clock.advance(5)
        self.pair.pump()
        self.assertEqual(len(self.lost), 1)

    def test_times_are_those_of_the_documents(self):
        self.assertEqual((INTERVAL, PING_EVERY, SUSPECT_AFTER, DEAD_AFTER), (1.0, 2.5, 4.0, 9.0))
        self.heartbeat.stop()

    def test_one_that_is_sparing_pings_when_its_peer_is_late(self):
        self.heartbeat.stop()
        clock, pings, swept = self.pair.clock, [], []
        ping = self.pair.agent.ping
        self.pair.agent.ping = lambda: pings.append(clock.seconds()) or ping()
        self.pair.agent.sweep = lambda: swept.append(clock.seconds())
        sparing = Heartbeat(clock, self.pair.agent, self.pair.agent.abort, sparing=True)
        peer = Heartbeat(clock, self.pair.server, self.pair.server.abort)
        peer.start()
        sparing.start()
        for _ in range(120):
            self.pair.pump()
            clock.advance(0.25)
        self.assertEqual(pings, [0.0])
        self.assertEqual(swept[:4], [0.0, 0.5, 1.5, 2.5])
        peer.stop()
        for _ in range(40):
            self.pair.pump()
            clock.advance(0.25)
        # A peer that only answers is asked before it is suspected.
        self.assertEqual([later - before for before, later in pairwise(pings[1:])], [3.0, 3.0])
        self.assertEqual(self.lost, [])
        sparing.stop()

    def test_one_that_is_sparing_measures_a_session_that_has_visitors(self):
        self.heartbeat.stop()
        self.pair.server.listen(Factory.forProtocol(Protocol))
        for _ in range(2):
            self.pair.agent.open_stream(Protocol())
        clock, pings = self.pair.clock, []
        ping = self.pair.agent.ping
        self.pair.agent.ping = lambda: pings.append(clock.seconds()) or ping()
        sparing = Heartbeat(clock, self.pair.agent, self.pair.agent.abort, sparing=True)
        sparing.start()
        for _ in range(28):
            self.pair.pump()
            clock.advance(0.25)
        self.assertEqual(pings, [0.0, 2.5, 5.5])
        sparing.stop()

    def test_many_share_few_timers(self):
        self.heartbeat.stop()
        clock, looks, many = self.pair.clock, [], []
        for number in range(100):
            clock.advance(0.01)
            one = Heartbeat(
                clock, self.pair.agent, self.pair.agent.abort, on_check=lambda n=number: looks.append(n)
            )
            one.start()
            many.append(one)
        self.assertLessEqual(len(clock.getDelayedCalls()), 33)
        looks.clear()
        for _ in range(200):
            clock.advance(0.01)
            self.pair.pump()
        self.assertEqual([looks.count(number) for number in (0, 1, 49, 98)], [2, 2, 2, 2])
        self.assertIn(len(looks), range(196, 208))
        for one in many:
            one.stop()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_checks_that_were_missed_are_left_out(self):
        clock = self.pair.clock
        self.looks.clear()
        clock.advance(3.5)
        self.assertEqual(self.looks, [3.5])
        clock.advance(0.25)
        self.assertEqual(self.looks, [3.5])
        clock.advance(0.25)
        self.assertEqual(self.looks, [3.5, 4.0])
        clock.advance(2.0)  # the check at 5 is as late as the next one's time
        self.assertEqual(self.looks, [3.5, 4.0, 6.0])
        clock.advance(1.0)
        self.assertEqual(self.looks, [3.5, 4.0, 6.0, 7.0])
        self.heartbeat.stop()

    def test_checks_are_early_by_a_32nd_of_a_second_at_most(self):
        clock, looks, tick = self.pair.clock, [], 1 / 1024
        clock.advance(0.5)

        def begin():
            begun = clock.seconds()
            one = Heartbeat(
                clock,
                self.pair.server,
                self.pair.server.abort,
                on_check=lambda: looks.append((clock.seconds() - begun) / tick),
            )
            one.start()
            self.addCleanup(one.stop)

        for ticks in (0, 31, 1):
            clock.advance(ticks * tick)
            begin()
        self.assertEqual(looks, [0, 0, 0])
        looks.clear()
        clock.pump([tick] * 1024)
        self.assertEqual(looks, [1024, 993, 1024])
        self.heartbeat.stop()

    def test_one_that_is_sparing_asks_at_once_after_a_sleep(self):
        self.heartbeat.stop()
        clock, pings = self.pair.clock, []
        ping = self.pair.agent.ping
        sparing = Heartbeat(clock, self.pair.agent, self.pair.agent.abort, sparing=True)
        sparing.start()
        self.pair.pump()
        self.pair.agent.ping = lambda: pings.append(clock.seconds()) or ping()
        clock.advance(6)
        self.assertEqual(pings, [6.0])
        sparing.stop()

    def test_one_that_ends_its_neighbour(self):
        """Of two that are checked together, the first ends the second, which is not checked again."""
        looks = []
        other = Heartbeat(
            self.pair.clock, self.pair.server, self.pair.server.abort, on_check=lambda: looks.append(1)
        )
        self.pair.agent.sweep = other.stop
        other.start()
        looks.clear()
        self.pair.clock.advance(1)
        self.assertEqual(looks, [])
        self.heartbeat.stop()
        self.assertEqual(self.pair.clock.getDelayedCalls(), [])

    def test_it_sweeps_the_session(self):
        swept = []
        self.pair.agent.sweep = lambda: swept.append(self.pair.clock.seconds())
        self.pair.clock.advance(1)
        self.assertEqual(swept, [1.0])
        self.heartbeat.stop()
