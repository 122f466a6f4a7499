"""Tests for L{burrow.mux.lifeline}: two sessions over carriers that come and go, in memory."""

from struct import Struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import WireError
from burrow.mux.interfaces import CloseCode
from burrow.mux.lifeline import PUT_OFF, Lifeline
from burrow.mux.session import Session
from burrow.testing import HalfCloseRecorder, MemoryCarrier, Recorder, Recorders
from burrow.wire import pacing
from burrow.wire.pacing import MAX_PULL
from burrow.wire.resume import ACK, ACK_EVERY, FEW, PACKET_OVERHEAD

PACKET = Struct("!BQ")


class Taking(MemoryCarrier):
    """Its socket takes everything at once."""

    def send(self, data, header=b""):
        self.sent.append(header + data)
        return True

    def drain(self):
        self.user.carrier_drained()


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

    def test_bytes_are_counted_once(self):
        """Sent, and received, whatever was sent again."""
        world = World()
        world.connect()
        stream = world.agent.open_stream(Recorder())
        stream.write(b"x" * 1000)
        world.clock.advance(0)
        sent = world.lifelines[0].sent
        self.assertGreater(sent, 1000)
        self.assertEqual(world.lifelines[1].received, 0)
        world.connect()
        world.pump()
        self.assertEqual(world.lifelines[1].received, world.lifelines[0].sent)
        self.assertLess(world.lifelines[0].sent, sent + 100)

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
        world.server.on_lost.append(lost.append)
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
        world.server.on_lost.append(lost.append)
        for _ in range(10):
            world.connect()
            world.pump()
            world.cut()
            world.clock.advance(4)
        self.assertEqual(lost, [])

    def test_good_bye_ends_both_at_once(self):
        world, lost = World(), []
        world.server.on_lost.append(lost.append)
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

    def test_session_without_acknowledgements_holds_bounded_bytes(self):
        """A socket that takes everything at once, and a peer that acknowledges nothing."""
        self.patch(pacing, "FIRST_WINDOW", 1 << 30)
        world = World(limit=100_000)
        taking = Taking(world.lifelines[0])
        world.lifelines[0].attach_carrier(taking, 0)
        streams = [world.agent.open_stream(Recorder()) for _ in range(20)]
        for _ in range(10):
            for stream in streams:
                stream.write(bytes(20_000))
            world.clock.advance(0)
        # Without the limit, twenty windows: all of it.
        self.assertEqual(
            sum(map(len, taking.sent)), world.lifelines[0]._replay.sent + PACKET_OVERHEAD * len(taking.sent)
        )
        self.assertGreaterEqual(world.lifelines[0]._replay.sent, 100_000)
        self.assertLess(world.lifelines[0]._replay.sent, 100_000 + MAX_PULL + 20_000)
        taking.drain()
        world.clock.advance(0)
        self.assertLess(world.lifelines[0]._replay.sent, 100_000 + MAX_PULL + 20_000)
        # An acknowledgement lets as much follow, and no more.
        before = world.lifelines[0]._replay.sent
        world.lifelines[0].carrier_received(PACKET.pack(ACK, before))
        world.clock.advance(0)
        self.assertGreaterEqual(world.lifelines[0]._replay.sent, before + 100_000)
        self.assertLess(world.lifelines[0]._replay.sent, before + 100_000 + MAX_PULL + 20_000)

    def test_detached_session_sends_nothing_and_loses_nothing(self):
        world = World()
        world.connect()
        stream = world.agent.open_stream(Recorder())
        world.pump()
        world.cut()
        sent = world.lifelines[0]._replay.sent
        for _ in range(10):
            stream.write(bytes(10_000))
            world.pump()
        self.assertEqual(
            world.lifelines[0]._replay.sent, sent
        )  # it waits in the stream, which tells its producer
        self.assertEqual(stream.state.queued, 100_000)
        world.connect()
        world.pump()
        self.assertEqual(len(world.accepted.built[0].received), 100_000)

    def test_new_carrier_is_a_sign_of_life(self):
        world = World()
        world.clock.advance(30)
        world.connect()
        self.assertEqual([session.last_received for session in (world.agent, world.server)], [30.0, 30.0])

    def test_acknowledgement_is_a_sign_of_life(self):
        world = World()
        world.connect()
        stream = world.agent.open_stream(Recorder())
        stream.write(b"x")
        world.pump()
        world.clock.advance(5)
        world.lifelines[1].acknowledge()
        world.cables[1].deliver()
        self.assertEqual(world.agent.last_received, 5.0)
        self.assertEqual(world.lifelines[0]._replay.unacknowledged, 0)

    def test_few_bytes_are_acknowledged_after_some_checks(self):
        world = World()
        world.connect()
        stream = world.agent.open_stream(Recorder())
        world.pump()
        replay, lifeline = world.lifelines[0]._replay, world.lifelines[1]
        lifeline.acknowledge()
        for size, checks in ((1, PUT_OFF + 1), (FEW, 1), (1, PUT_OFF + 1)):
            stream.write(bytes(size))
            world.pump()
            for _ in range(checks):
                self.assertGreater(replay.unacknowledged, 0)
                lifeline.check()
                world.pump()
            self.assertEqual(replay.unacknowledged, 0)

    def test_what_is_sent_again_waits_for_a_busy_carrier(self):
        world = World()
        taking = Taking(world.lifelines[0])
        world.lifelines[0].attach_carrier(taking, 0)
        stream = world.agent.open_stream(Recorder())
        for _ in range(5):
            stream.write(bytes(1000))
            world.clock.advance(0)
        self.assertEqual(len(taking.sent), 5)
        taking.lose()
        busy = MemoryCarrier(world.lifelines[0])
        world.lifelines[0].attach_carrier(busy, 0)
        for number in range(1, 6):
            self.assertEqual(len(busy.sent), number)
            world.lifelines[0].carrier_drained()
        stream.write(b"new")
        world.clock.advance(0)
        self.assertEqual(len(busy.sent), 6)

    def test_what_is_sent_again_overtakes_what_is_new(self):
        """Also where the newer carrier replaces one that was not lost, under a session that may send."""
        world = World()
        taking = Taking(world.lifelines[0])
        world.lifelines[0].attach_carrier(taking, 0)
        stream = world.agent.open_stream(Recorder())
        for _ in range(5):
            stream.write(bytes(1000))
            world.clock.advance(0)
        world.connect()
        stream.write(b"new")
        world.pump()
        self.assertEqual(world.accepted.built[0].received, bytes(5000) + b"new")

    def test_second_loss_does_not_begin_the_grace_time_anew(self):
        world, lost = World(grace=5.0), []
        world.agent.on_lost.append(lost.append)
        world.connect()
        world.cut()
        world.clock.advance(3)
        world.lifelines[0].carrier_lost(Failure(ConnectionLost()))
        self.assertEqual(len(world.clock.getDelayedCalls()), 2)  # one a side
        world.clock.advance(2)
        self.assertEqual(len(lost), 1)
        self.assertIn("within 5 seconds", lost[0].getErrorMessage())

    def test_users_hear_of_carriers_that_come_and_go(self):
        world, heard = World(), []
        lifeline = world.lifelines[0]
        lifeline.on_attached.append(lambda peer: heard.append("attached"))
        lifeline.on_detached.append(lambda reason: heard.append(type(reason.value)))
        self.assertFalse(world.agent.connected)
        world.connect()
        self.assertTrue(world.agent.connected)
        world.cut()
        self.assertFalse(world.agent.connected)
        world.connect()
        world.pump()
        world.agent.close("done")
        world.pump()
        self.assertEqual(heard, ["attached", ConnectionLost, "attached"])

    def test_end_at_once(self):
        for attached in (True, False):
            world, lost = World(), []
            world.agent.on_lost.append(lost.append)
            world.connect()
            if not attached:
                world.cut()
            world.agent.abort()
            self.assertEqual([type(reason.value) for reason in lost], [ConnectionLost])
            world.pump()
            self.assertEqual(len(lost), 1)
            self.assertTrue(world.cables[0].closed)
            world.server.abort()
            self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_bytes_are_acknowledged_by_amount(self):
        world = World()
        world.connect()
        stream = world.agent.open_stream(Recorder())
        stream.write(bytes(ACK_EVERY // 2))
        world.pump()
        self.assertGreater(world.lifelines[0]._replay.unacknowledged, 0)
        stream.write(bytes(ACK_EVERY))
        world.pump()
        self.assertLess(world.lifelines[0]._replay.unacknowledged, ACK_EVERY)

    def test_breach_closes_the_carrier(self):
        world = World()
        world.connect()
        world.lifelines[1].carrier_received(b"\x09nonsense")
        self.assertEqual(world.cables[1].close_code, CloseCode.PROTOCOL_ERROR)
        with capturedLogs() as logs:
            for _ in range(100):
                world.lifelines[1].carrier_received(b"nonsense")
        self.assertEqual(logs, [])  # told once
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


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_cuts_in_any_order(data):
    """Bytes both ways on several streams, cut at any packet, any number of times: all arrive, and once."""
    world = World()
    world.connect()
    pairs, written = [], []
    for _ in range(data.draw(st.integers(1, 3))):
        world.agent.open_stream(HalfCloseRecorder())
        pairs.append(list(world.agent._streams.by_id.values())[-1])
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
