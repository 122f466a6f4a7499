"""Tests for L{burrow.mux.heartbeat}."""

from twisted.trial.unittest import SynchronousTestCase

from burrow.mux.heartbeat import Heartbeat
from burrow.testing import SessionPair


class Heartbeats(SynchronousTestCase):
    def setUp(self):
        self.pair = SessionPair()
        self.lost = []
        self.pair.agent.on_lost = self.lost.append
        self.heartbeat = Heartbeat(self.pair.clock, self.pair.agent)
        self.heartbeat.start()

    def test_live_peer_is_kept(self):
        for _ in range(200):
            self.pair.clock.advance(0.5)
            self.pair.pump()
        self.assertEqual(self.lost, [])
        self.heartbeat.stop()
        self.heartbeat.stop()

    def test_silent_peer_is_given_up_within_fifteen_seconds(self):
        self.pair.agent_carrier.blocked = True
        for _ in range(30):
            self.pair.clock.advance(0.5)
        self.assertEqual(len(self.lost), 1)
        self.assertEqual(self.pair.clock.getDelayedCalls(), [])
