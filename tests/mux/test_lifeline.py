"""Tests for L{burrow.mux.lifeline}: two sessions over carriers that come and go, in memory."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import WireError
from burrow.mux.lifeline import Lifeline
from burrow.mux.session import PROTOCOL_ERROR, Session
from burrow.testing import HalfCloseRecorder, MemoryCarrier, Recorder, Recorders


class World:
    """An agent's and a server's resumable session."""

    def __init__(self, **options):
        self.clock = Clock()
        self.accepted = Recorders(HalfCloseRecorder)
        self.agent = Session(self.clock, client=True)
        self.server = Session(self.clock, client=False, factory=self.accepted)
        self.lifelines = [Lifeline(self.clock, session, **options) for session in (self.agent, self.server)]
        self.cables = []

    def connect(self):
        told = [self.lifelines[1].received, self.lifelines[0].received]
        self.cables = list(MemoryCarrier.pair(*self.lifelines))
        for cable, lifeline, peer_received in zip(self.cables, self.lifelines, told, strict=True):
            before = lifeline.attach_carrier(cable, peer_received)
            if before is not None:
                before.user = None

    def step(self):
        self.clock.advance(0)
        moved = [cable.deliver() for cable in self.cables]
        return any(moved)

    def pump(self):
        for _ in range(100_000):
            busy = self.step()
            now = self.clock.seconds()
            if not busy and not any(call.getTime() <= now for call in self.clock.getDelayedCalls()):
                return
        raise AssertionError("the sessions never come to rest")

    def cut(self):
        """The connection breaks: both ends notice, one after the other, and nothing more arrives."""
        for cable in self.cables:
            if not cable.closed:
                cable.lose()


class Lifelines(SynchronousTestCase):
    def test_streams_notice_only_a_pause(self):
        world = World()
        world.connect()
        here = HalfCloseRecorder()
        stream = world.agent.open_stream(here)
        stream.write(b"before ")
        world.pump()
        world.cut()
        stream.write(b"during ")
        world.accepted.built[0].transport.write(b"answer")
        world.pump()
        self.assertEqual((here.received, here.lost), (b"", None))
        world.connect()
        stream.write(b"after")
        world.pump()
        self.assertEqual(world.accepted.built[0].received, b"before during after")
        self.assertEqual(here.received, b"answer")

    def test_newer_carrier_wins(self):
        world = World()
        world.connect()
        old = world.cables
        stream = world.agent.open_stream(Recorder())
        stream.write(b"x" * 1000)
        world.clock.advance(0)
        world.connect()
        self.assertTrue(all(cable.user is None for cable in old))
        world.pump()
        self.assertEqual(len(world.accepted.built[0].received), 1000)

    def test_grace_time_ends_the_session(self):
        world, lost = World(grace=5.0), []
        world.server.on_lost = lost.append
        world.connect()
        here = Recorder()
        world.agent.open_stream(here)
        world.pump()
        world.cut()
        world.clock.advance(4.9)
        self.assertEqual(lost, [])
        world.clock.advance(0.2)
        self.assertEqual(len(lost), 1)
        self.assertIsNotNone(here.lost)
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_resuming_stops_the_grace_time(self):
        world, lost = World(grace=5.0), []
        world.server.on_lost = lost.append
        for _ in range(10):
            world.connect()
            world.pump()
            world.cut()
            world.clock.advance(4)
        self.assertEqual(lost, [])

    def test_good_bye_ends_both_at_once(self):
        world, lost = World(), []
        world.server.on_lost = lost.append
        world.connect()
        world.agent.close("done")
        world.pump()
        self.assertEqual(len(lost), 1)
        self.assertTrue(world.agent.lost)

    def test_good_bye_without_a_carrier_ends_our_side(self):
        world = World()
        world.connect()
        world.cut()
        world.agent.close("done")
        self.assertTrue(world.agent.lost)
        self.assertFalse(world.server.lost)

    def test_detached_session_holds_bounded_bytes(self):
        world = World(limit=100_000)
        world.connect()
        world.cables[0].deliver = lambda: False  # sent, and never acknowledged
        stream = world.agent.open_stream(Recorder())
        for _ in range(100):
            stream.write(bytes(10_000))
            world.pump()
        self.assertLess(world.lifelines[0]._replay.unacknowledged, 100_000 + 300_000)
        self.assertGreater(world.agent.queued(stream.stream_id), 500_000)

    def test_breach_closes_the_carrier(self):
        world = World()
        world.connect()
        world.lifelines[1].carrier_received(b"\x09nonsense")
        self.assertEqual(world.cables[1].close_code, PROTOCOL_ERROR)
        world.pump()
        self.assertTrue(world.server.lost)
        self.assertTrue(world.agent.lost)

    def test_peer_that_has_what_was_never_sent_cannot_resume(self):
        world = World()
        world.connect()
        stream = world.agent.open_stream(Recorder())
        stream.write(bytes(200_000))
        world.pump()
        world.cut()
        with self.assertRaises(WireError):
            world.lifelines[0].attach_carrier(MemoryCarrier(world.lifelines[0]), 1 << 40)
        self.assertTrue(world.agent.lost)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_cuts_in_any_order(data):
    """Bytes both ways on several streams, cut at any packet, any number of times: all arrive, and once."""
    world = World()
    world.connect()
    pairs, written = [], []
    for _ in range(data.draw(st.integers(1, 3))):
        world.agent.open_stream(HalfCloseRecorder())
        pairs.append(list(world.agent._streams.values())[-1])
        written.append([b"", b""])
    world.pump()
    far = world.accepted.built
    for _ in range(data.draw(st.integers(1, 40))):
        action = data.draw(
            st.sampled_from(["write", "write", "step", "step", "cut", "connect", "acknowledge"])
        )
        if action == "write":
            number, side = data.draw(st.integers(0, len(pairs) - 1)), data.draw(st.integers(0, 1))
            chunk = bytes([data.draw(st.integers(0, 255))]) * data.draw(st.sampled_from([1, 5_000, 150_000]))
            (pairs[number] if side == 0 else far[number].transport).write(chunk)
            written[number][side] += chunk
        elif action == "step":
            world.step()
        elif action == "cut":
            world.cut()
        elif action == "acknowledge":
            for lifeline in world.lifelines:
                lifeline.acknowledge()
        else:
            world.connect()
    world.connect()
    world.pump()
    for number, stream in enumerate(pairs):
        assert far[number].received == written[number][0]
        assert stream.protocol.received == written[number][1]
