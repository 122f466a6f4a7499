"""Tests for L{burrow.mux.heartbeat}."""

from twisted.trial.unittest import SynchronousTestCase

from burrow.mux.heartbeat import DEAD_AFTER, SUSPECT_AFTER, Heartbeat
from burrow.testing import SessionPair


class Heartbeats(SynchronousTestCase):
    def setUp(self):
        self.pair = SessionPair()
        self.lost = []
        self.pair.agent.on_lost = self.lost.append
        self.suspected = []
        self.heartbeat = Heartbeat(self.pair.clock, self.pair.agent, self.pair.agent.abort)
        self.heartbeat.on_suspect = lambda: self.suspected.append(self.pair.clock.seconds())
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
