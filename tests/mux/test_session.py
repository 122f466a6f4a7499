"""Tests for L{burrow.mux.session} and L{burrow.mux.stream}, on two sessions joined in memory."""

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from burrow.errors import StreamGone
from burrow.mux.backlog import STALL
from burrow.mux.feed import HIGH_WATER
from burrow.mux.interfaces import UNKNOWN_PEER, CloseCode
from burrow.mux.lifeline import GRACE, PUT_OFF
from burrow.mux.pings import MAX_PINGS
from burrow.mux.session import GOING, Session
from burrow.mux.streams import LINGER
from burrow.testing import HalfCloseRecorder, MemoryCarrier, Recorder, Recorders, SessionPair
from burrow.wire.backlog import MAX_UNACKED
from burrow.wire.frames import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER_SIZE,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    FrameReader,
    GoAwayCode,
    encode,
)
from burrow.wire.pacing import (
    FIRST_WINDOW,
    MAX_FRAME,
    MAX_PULL,
    MAX_WINDOW,
    MIN_PULL,
    SHARED_FOR,
    SHARED_PULL,
)
from burrow.wire.pieces import SMALL
from burrow.wire.windows import INITIAL_WINDOW


@implementer(IPushProducer)
class Firehose:
    """Writes in every reactor turn while it may."""

    def __init__(self, clock, consumer, total):
        self.clock, self.consumer, self.left = clock, consumer, total
        self.paused = False
        self.stopped = False
        consumer.registerProducer(self, True)
        self.clock.callLater(0, self.work)

    def work(self):
        while self.left and not self.paused and not self.stopped:
            amount = min(16_384, self.left)
            self.left -= amount
            self.consumer.write(b"f" * amount)
        if not self.left and not self.stopped:
            self.stopped = True
            self.consumer.unregisterProducer()
            self.consumer.loseConnection()

    def pauseProducing(self):
        self.paused = True

    def resumeProducing(self):
        self.paused = False
        self.clock.callLater(0, self.work)

    def stopProducing(self):
        self.stopped = True


class Transparent:
    """A consumer that ends and unregisters nothing by itself."""

    def __init__(self, transport):
        self.write = transport.write
        self.transport = transport

    def registerProducer(self, producer, streaming):
        pass

    def unregisterProducer(self):
        self.transport.unregisterProducer()

    def loseConnection(self):
        pass


@implementer(IPullProducer)
class Drip:
    """Writes one piece each time it is asked."""

    def __init__(self, consumer, pieces):
        self.consumer, self.pieces = consumer, pieces
        self.most = 0
        consumer.registerProducer(self, False)

    def resumeProducing(self):
        if self.pieces:
            self.consumer.write(self.pieces.pop(0))
        else:
            self.consumer.unregisterProducer()
            self.consumer.loseConnection()

    def stopProducing(self):
        self.pieces = []


class Streams(SynchronousTestCase):
    def setUp(self):
        self.accepted = Recorders(HalfCloseRecorder)
        self.pair = SessionPair(server_factory=self.accepted)

    def open(self, protocol=None):
        """A stream from the agent; returns both ends' protocols."""
        here = protocol or HalfCloseRecorder()
        self.pair.agent.open_stream(here)
        self.pair.pump()
        return here, self.accepted.built[-1]

    def test_bytes_go_both_ways(self):
        here, there = self.open()
        for address in (there.transport.getPeer(), there.transport.getHost()):
            self.assertEqual((address.session, address.stream_id), (self.pair.server.peer, 1))
        self.assertFalse(there.transport.disconnecting)
        here.transport.write(b"ping")
        self.pair.pump()
        there.transport.writeSequence([b"po", b"ng"])
        self.pair.pump()
        self.assertEqual((there.received, here.received), (b"ping", b"pong"))

    def test_writes_of_one_turn_are_one_message(self):
        here, _ = self.open()
        here.transport.write(b"a")
        here.transport.write(b"b")
        self.assertEqual(len(self.pair.clock.getDelayedCalls()), 1)
        self.pair.clock.advance(0)
        self.assertEqual(len(self.pair.agent_carrier.sent), 1)

    def test_half_close(self):
        here, there = self.open()
        here.transport.write(b"question")
        here.transport.loseWriteConnection()
        here.transport.write(b"too late")
        self.pair.pump()
        self.assertTrue(there.read_lost)
        self.assertIsNone(there.lost)
        there.transport.write(b"answer")
        there.transport.loseConnection()
        self.pair.pump()
        self.assertEqual((there.received, here.received), (b"question", b"answer"))
        for end in (here, there):
            if end is here:
                self.assertTrue(here.read_lost)
        self.assertIsInstance(there.lost.value, ConnectionDone)
        self.assertIsInstance(here.lost.value, ConnectionDone)
        self.assertEqual((self.pair.agent.stream_count, self.pair.server.stream_count), (0, 0))

    def test_fin_closes_a_protocol_that_knows_no_half_close(self):
        here, there = self.open(Recorder())
        there.transport.write(b"bye")
        there.transport.loseWriteConnection()
        self.pair.pump()
        self.assertEqual(here.received, b"bye")
        self.assertIsInstance(here.lost.value, ConnectionDone)

    def test_lose_connection_calls_back_only_after_the_bytes_are_out(self):
        here, there = self.open()
        self.pair.agent_carrier.blocked = True
        here.transport.write(bytes(300_000))  # more than a window
        here.transport.loseConnection()
        self.assertIsNone(here.lost)
        self.pair.pump()
        self.assertIsNone(here.lost)
        self.pair.agent_carrier.blocked = False
        self.pair.pump()
        self.assertIsInstance(here.lost.value, ConnectionDone)
        self.assertEqual(len(there.received), 300_000)

    def test_nothing_is_read_after_lose_connection(self):
        here, there = self.open()
        self.pair.agent.carrier_paused()  # our FIN is not out: the stream is still ours
        here.transport.write(b"last words")
        here.transport.loseConnection()
        there.transport.write(b"ignored")
        self.pair.pump()
        self.assertEqual((here.received, here.lost), (b"", None))
        self.pair.agent.carrier_drained()
        self.pair.pump()
        self.assertEqual((here.received, there.received), (b"", b"last words"))
        self.assertIsInstance(here.lost.value, ConnectionDone)

    def test_what_is_held_back_is_not_read_after_lose_connection(self):
        here, there = self.open()
        here.transport.pauseProducing()
        there.transport.write(b"ignored")
        self.pair.pump()
        here.transport.resumeProducing()
        here.transport.loseConnection()
        self.pair.pump()
        self.assertEqual(here.received, b"")
        self.assertIsInstance(here.lost.value, ConnectionDone)

    def test_nothing_is_read_after_any_end(self):
        for leave in ("loseConnection", "abortConnection", "breakConnection"):
            with self.subTest(leave):
                self.setUp()
                here, there = self.open()
                here.transport.pauseProducing()
                there.transport.write(b"ignored")
                self.pair.pump()
                self.assertFalse(here.transport.disconnecting)
                getattr(here.transport, leave)()
                getattr(here.transport, leave)()
                self.assertTrue(here.transport.disconnecting)
                here.transport.resumeProducing()
                there.transport.write(b"ignored")
                self.pair.pump()
                self.assertEqual(here.received, b"")
                self.assertFalse(here.transport.connected)
                here.transport.write(b"too late")
                self.assertTrue(there.transport.disconnecting)
                self.pair.pump()
                self.assertEqual(there.received, b"")

    def test_reading_that_stops_in_the_middle_of_what_was_held(self):
        here, there = self.open()
        here.transport.pauseProducing()
        pieces = [letter * SMALL for letter in (b"a", b"b", b"c")]
        for piece in pieces:
            there.transport.write(piece)
            self.pair.pump()
        there.transport.loseConnection()
        self.pair.pump()
        took = []
        here.dataReceived = lambda data: (took.append(data), here.transport.pauseProducing())
        for count in (1, 2, 3):
            here.transport.resumeProducing()
            self.pair.pump()
            self.assertEqual((len(took), here.read_lost), (count, False))
        here.transport.resumeProducing()
        self.pair.pump()
        self.assertEqual((took, here.read_lost), (pieces, True))

    def test_small_pieces_that_are_held_are_joined(self):
        here, there = self.open()
        took = []
        here.dataReceived = took.append
        here.transport.pauseProducing()
        for number in range(SMALL):
            there.transport.write(b"%d" % (number % 10))
            self.pair.pump()
        self.assertEqual(took, [])
        here.transport.resumeProducing()
        self.pair.pump()
        self.assertEqual([len(piece) for piece in took], [SMALL])
        there.transport.write(bytes(2 * INITIAL_WINDOW))
        self.pair.pump()  # all of it was given back to the window
        self.assertEqual(sum(map(len, took)), SMALL + 2 * INITIAL_WINDOW)

    def test_consumer_that_is_gone_ends_the_stream(self):
        here, there = self.open()
        here.transport.stopProducing()
        self.pair.pump()
        self.assertIsInstance(here.lost.value, ConnectionDone)
        self.assertTrue(there.read_lost)

    def test_lose_connection_waits_for_the_producer(self):
        here, there = self.open()
        hose = Firehose(self.pair.clock, here.transport, 3_000_000)
        hose.consumer = Transparent(here.transport)
        here.transport.loseConnection()
        here.transport.loseConnection()
        self.pair.pump()
        self.assertEqual(len(there.received), 3_000_000)
        self.assertIsInstance(here.lost.value, ConnectionDone)
        self.assertTrue(there.read_lost)

    def test_producer_of_a_stream_that_is_lost_is_stopped_at_once(self):
        here, _ = self.open()
        here.transport.abortConnection()
        self.pair.pump()
        hose = Firehose(self.pair.clock, here.transport, 100)
        self.assertTrue(hose.stopped)
        here.transport.unregisterProducer()
        here.transport.write(b"x")
        self.pair.pump()
        self.assertFalse(self.pair.agent_carrier.sent)

    def test_producer_that_is_done_may_be_followed_by_another(self):
        here, there = self.open()
        there.transport.pauseProducing()
        for _ in range(2):
            hose = Firehose(self.pair.clock, Transparent(here.transport), 400_000)
            here.transport.registerProducer(hose, True)
            self.pair.pump()
            self.assertTrue(hose.paused)
            here.transport.unregisterProducer()
        there.transport.resumeProducing()
        here.transport.loseConnection()
        self.pair.pump()
        self.assertTrue(there.read_lost)
        self.assertTrue(hose.paused)

    def test_abort_resets_the_peer_and_calls_back_in_the_next_turn(self):
        here, there = self.open()
        here.transport.write(b"never")
        here.transport.abortConnection()
        self.assertIsNone(here.lost)
        self.pair.pump()
        self.assertIsInstance(here.lost.value, ConnectionAborted)
        self.assertIsInstance(there.lost.value, ConnectionLost)
        self.assertEqual(there.received, b"")

    def test_second_abort_is_none(self):
        here, _ = self.open()
        here.transport.abortConnection()
        due = len(self.pair.clock.getDelayedCalls())
        here.transport.abortConnection()
        here.transport.loseConnection()
        here.transport.breakConnection()
        self.assertEqual(len(self.pair.clock.getDelayedCalls()), due)
        self.pair.pump()
        self.assertIsInstance(here.lost.value, ConnectionAborted)

    def test_broken_stream_delivers_first(self):
        here, there = self.open()
        here.transport.write(b"all there is")
        here.transport.breakConnection()
        self.assertIsNone(here.lost)
        self.pair.pump()
        self.assertEqual(there.received, b"all there is")
        self.assertIsInstance(here.lost.value, ConnectionAborted)
        self.assertIsInstance(there.lost.value, ConnectionLost)
        self.assertEqual((self.pair.agent.stream_count, self.pair.server.stream_count), (0, 0))

    def test_broken_after_its_fin_is_out(self):
        """In each order of FINs and reading there is a connectionLost, and the peer learns of the break."""
        for peer_ended in (False, True):
            for held in (False, True):
                with self.subTest(peer_ended=peer_ended, held=held):
                    self.setUp()
                    here, there = self.open()
                    if held:
                        here.transport.pauseProducing()
                        there.transport.write(b"never read")
                    here.transport.loseWriteConnection()
                    self.pair.pump()
                    if peer_ended:
                        there.transport.loseConnection()
                        self.pair.pump()
                    if not (peer_ended and not held):
                        self.assertIsNone(here.lost)
                        here.transport.breakConnection()
                        self.assertIsNone(here.lost)
                        self.pair.pump()
                        self.assertIsInstance(here.lost.value, ConnectionAborted)
                    end = ConnectionDone if peer_ended else ConnectionLost
                    self.assertIsInstance(there.lost.value, end)
                    self.assertEqual((self.pair.agent.stream_count, self.pair.server.stream_count), (0, 0))

    def test_broken_with_a_producer(self):
        here, there = self.open()
        hose = Firehose(self.pair.clock, here.transport, 400_000)
        hose.consumer = Transparent(here.transport)
        self.pair.clock.advance(0)
        here.transport.breakConnection()
        here.transport.breakConnection()
        here.transport.write(b"too late")
        here.transport.unregisterProducer()
        self.assertIsNone(here.lost)
        self.pair.pump()
        self.assertIsInstance(here.lost.value, ConnectionAborted)
        self.assertEqual(there.received, b"f" * len(there.received))

    def test_broken_stream_can_still_be_aborted(self):
        here, there = self.open()
        there.transport.pauseProducing()
        here.transport.write(bytes(400_000))  # more than the peer takes
        here.transport.breakConnection()
        self.pair.pump()
        self.assertIsNone(here.lost)
        here.transport.abortConnection()
        self.pair.pump()
        self.assertIsInstance(here.lost.value, ConnectionAborted)
        self.assertIsInstance(there.lost.value, ConnectionLost)

    def test_reset_ends_a_stream_that_is_being_broken(self):
        here, there = self.open()
        there.transport.pauseProducing()
        here.transport.write(bytes(400_000))
        here.transport.breakConnection()
        self.pair.pump()
        there.transport.abortConnection()
        self.pair.pump()
        self.assertIsInstance(here.lost.value, ConnectionLost)

    def test_what_came_whole_is_read_after_the_session_is_lost(self):
        for reader in (HalfCloseRecorder(), Recorder()):
            with self.subTest(reader=reader):
                self.setUp()
                here, there = self.open(reader)
                here.transport.pauseProducing()
                there.transport.write(b"all of a download")
                there.transport.loseConnection()
                self.pair.pump()
                self.pair.server.close("done")
                self.pair.pump()
                self.assertTrue(self.pair.agent.lost)
                self.assertIsNone(here.lost)
                here.transport.write(b"to nobody")
                here.transport.resumeProducing()
                self.pair.pump()
                self.assertEqual(here.received, b"all of a download")
                if isinstance(reader, HalfCloseRecorder):
                    self.assertTrue(here.read_lost)
                self.assertIsInstance(here.lost.value, ConnectionDone)

    def test_part_of_a_transfer_is_not_read_after_the_session_is_lost(self):
        here, there = self.open()
        here.transport.pauseProducing()
        there.transport.write(b"part of a download")
        self.pair.pump()
        self.pair.server.close("done")
        self.pair.pump()
        self.assertIsInstance(here.lost.value, ConnectionLost)
        here.transport.resumeProducing()
        self.pair.pump()
        self.assertEqual(here.received, b"")

    def test_reader_that_wants_it_may_leave_instead(self):
        for leave in ("loseConnection", "abortConnection", "breakConnection"):
            with self.subTest(leave):
                self.setUp()
                here, there = self.open()
                here.transport.pauseProducing()
                there.transport.write(b"all of a download")
                there.transport.loseConnection()
                self.pair.pump()
                self.pair.server.close("done")
                self.pair.pump()
                getattr(here.transport, leave)()
                self.assertIsNone(here.lost)
                self.pair.pump()
                self.assertIsNotNone(here.lost)
                self.assertEqual(here.received, b"")

    def test_protocol_may_read_on_before_it_learns_of_a_reset(self):
        here, there = self.open()
        there.reads_before_reset = True
        there.transport.pauseProducing()
        here.transport.write(b"slowly")
        here.transport.breakConnection()
        self.pair.pump()
        self.assertIsNone(there.lost)
        there.transport.resumeProducing()
        self.pair.pump()
        self.assertEqual(there.received, b"slowly")
        self.assertIsInstance(there.lost.value, ConnectionLost)

    def test_bytes_are_given_back_once_whoever_reads_them(self):
        """A window is given back for every byte once, though protocols take over in the middle of a piece."""
        here, there = self.open()
        third = HalfCloseRecorder()

        def slow(data):
            there.transport.pauseProducing()
            there.transport.become(third, data[1:])

        second = HalfCloseRecorder()
        second.dataReceived = slow
        there.dataReceived = lambda data: there.transport.become(second, data[10:])
        total = 0
        for step in range(20):
            here.transport.write(bytes(128 * 1024))
            total += 128 * 1024
            self.pair.pump()
            there.transport.resumeProducing()
            self.pair.pump()
            self.assertEqual(here.transport.state.queued, 0, step)
        self.assertEqual(len(third.received), total - 1 - 10)
        window = self.pair.server._wire.streams[here.transport.stream_id].window
        self.assertEqual(window.available + window._consumed, window.size)

    def test_every_byte_is_given_back(self):
        here, _ = self.open()
        for _ in range(20):
            here.transport.write(bytes(10_000))
            self.pair.pump()
        window = self.pair.server._wire.streams[here.transport.stream_id].window
        self.assertEqual(window.available + window._consumed, window.size)

    def test_protocol_that_takes_over_may_leave_at_once(self):
        here, there = self.open()
        second = HalfCloseRecorder()
        second.connectionMade = lambda: there.transport.loseConnection()
        there.dataReceived = lambda data: there.transport.become(second, data)
        here.transport.write(b"unread")
        here.transport.loseConnection()
        self.pair.pump()
        self.assertEqual(second.received, b"")
        self.assertIsInstance(second.lost.value, ConnectionDone)

    def test_protocol_is_replaced_by_another(self):
        here, there = self.open()
        second = HalfCloseRecorder()
        there.dataReceived = lambda data: there.transport.become(second, data[3:])
        here.transport.write(b"abcdef")
        here.transport.write(bytes(300_000))
        self.pair.pump()
        self.assertEqual(second.received, b"def" + bytes(300_000))
        here.transport.loseConnection()
        self.pair.pump()
        self.assertTrue(second.read_lost)

    def test_protocol_that_takes_over_late_reads_in_order(self):
        """The first is paused until the tunnel is known, the next until it is joined."""
        here, there = self.open()
        second = HalfCloseRecorder()
        second.connectionMade = lambda: there.transport.pauseProducing()
        there.dataReceived = lambda data: there.transport.pauseProducing()
        for piece in (b"head, one, ", b"two, ", b"three"):
            here.transport.write(piece)
            self.pair.pump()
        there.transport.resumeProducing()
        there.transport.become(second, b"one, ")
        self.pair.pump()
        self.assertEqual(second.received, b"")
        there.transport.resumeProducing()
        self.pair.pump()
        self.assertEqual(second.received, b"one, two, three")
        window = self.pair.server._wire.streams[here.transport.stream_id].window
        self.assertEqual(window.available + window._consumed, window.size)

    def test_protocol_that_takes_over_in_the_middle_of_what_was_held_reads_in_order(self):
        here, there = self.open()
        second = HalfCloseRecorder()
        there.transport.pauseProducing()
        for piece in (b"a" * SMALL, b"b" * SMALL, b"c" * SMALL):
            here.transport.write(piece)
            self.pair.pump()
        there.dataReceived = lambda data: there.transport.become(second, data[10:])
        there.transport.resumeProducing()
        self.pair.pump()
        self.assertEqual(second.received, b"a" * (SMALL - 10) + b"b" * SMALL + b"c" * SMALL)

    def test_push_producer_is_paused_and_resumed(self):
        here, there = self.open()
        hose = Firehose(self.pair.clock, here.transport, 3_000_000)
        there.transport.pauseProducing()
        self.pair.pump()
        self.assertTrue(hose.paused)
        # What waits: a window at the reader, a high water mark at the writer.
        self.assertLess(3_000_000 - hose.left, 256 * 1024 + HIGH_WATER + 32_768)
        there.transport.resumeProducing()
        self.pair.pump()
        self.assertEqual(len(there.received), 3_000_000)
        self.assertIsInstance(here.lost.value, ConnectionDone)

    def test_pull_producer_writes_when_asked(self):
        here, there = self.open()
        Drip(here.transport, [b"a", b"b", b"c"])
        self.pair.pump()
        self.assertEqual(there.received, b"abc")
        self.assertTrue(there.read_lost)

    def test_second_producer_is_refused(self):
        here, _ = self.open()
        Firehose(self.pair.clock, here.transport, 10)
        with self.assertRaises(RuntimeError):
            Firehose(self.pair.clock, here.transport, 10)

    def test_producer_of_a_lost_stream_is_stopped(self):
        here, there = self.open()
        hose = Firehose(self.pair.clock, here.transport, 3_000_000)
        there.transport.pauseProducing()
        self.pair.pump()
        there.transport.abortConnection()
        self.pair.pump()
        self.assertTrue(hose.stopped)

    def test_paused_reader_gets_all_in_order_and_the_end_last(self):
        here, there = self.open()
        there.transport.pauseProducing()
        for piece in (b"one ", b"two ", b"three"):
            here.transport.write(piece)
            self.pair.pump()
        here.transport.loseWriteConnection()
        self.pair.pump()
        self.assertEqual((there.received, there.read_lost), (b"", False))
        there.transport.resumeProducing()
        there.transport.pauseProducing()
        there.transport.resumeProducing()
        self.assertEqual(len(self.pair.clock.getDelayedCalls()), 1)
        self.assertEqual(there.received, b"")  # as on a socket: not before resumeProducing returns
        self.pair.pump()
        self.assertEqual((there.received, there.read_lost), (b"one two three", True))

    def test_paused_reader_hears_of_the_end_when_it_reads_on(self):
        here, there = self.open()
        there.transport.pauseProducing()
        here.transport.loseWriteConnection()
        self.pair.pump()
        self.assertFalse(there.read_lost)
        there.transport.resumeProducing()
        self.pair.pump()
        self.assertTrue(there.read_lost)

    def test_stalled_reader_does_not_stop_its_neighbour(self):
        slow_here, slow_there = self.open()
        slow_there.transport.pauseProducing()
        Firehose(self.pair.clock, slow_here.transport, 10_000_000)
        self.pair.pump()
        here, there = self.open()
        here.transport.write(bytes(1_000_000))
        self.pair.pump()
        self.assertEqual(len(there.received), 1_000_000)

    def test_protocol_that_fails_loses_its_stream_alone(self):
        here, there = self.open()
        other_here, other_there = self.open()
        there.dataReceived = lambda data: 1 / 0
        here.transport.write(b"x")
        self.pair.pump()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIsInstance(here.lost.value, ConnectionLost)
        other_here.transport.write(b"fine")
        self.pair.pump()
        self.assertEqual(other_there.received, b"fine")

    def test_streams_end_with_their_session(self):
        here, there = self.open()
        self.pair.agent_carrier.abort()
        self.pair.pump()
        for end in (here, there):
            self.assertIsInstance(end.lost.value, ConnectionLost)
        with self.assertRaises(StreamGone):
            self.pair.agent.open_stream(Recorder())

    def test_without_a_factory_streams_are_reset(self):
        self.pair.server.stop_listening()
        here = Recorder()
        self.pair.agent.open_stream(here)
        self.pair.pump()
        self.assertIsInstance(here.lost.value, ConnectionLost)

    def test_half_closed_stream_that_nobody_holds_is_reset_when_data_comes(self):
        here, there = self.open(Recorder())
        here.transport.loseConnection()
        self.pair.pump()
        there.transport.write(b"anybody there?")
        self.pair.pump()
        self.assertIsInstance(there.lost.value, ConnectionLost)

    def test_half_closed_stream_that_nobody_holds_is_swept_in_time(self):
        here, there = self.open(Recorder())
        here.transport.loseConnection()
        self.pair.pump()
        self.pair.clock.advance(59)
        self.pair.agent.sweep()
        self.pair.pump()
        self.assertIsNone(there.lost)
        self.pair.clock.advance(1)
        self.pair.agent.sweep()
        self.pair.pump()
        self.assertIsInstance(there.lost.value, ConnectionLost)
        self.assertEqual((self.pair.agent.stream_count, self.pair.server.stream_count), (0, 0))

    def test_bytes_split_anywhere(self):
        self.pair.agent_carrier.chunk = 1
        here, there = self.open()
        here.transport.write(b"byte by byte")
        here.transport.loseConnection()
        self.pair.pump()
        self.assertEqual((there.received, there.read_lost), (b"byte by byte", True))


class Peer:
    """
    What an agent's session is on, read by hand: it has the SYNs and answers pings, and acknowledges nothing.
    """

    def __init__(self, pair, answers=True):
        self.session = pair.agent
        self.carrier = pair.agent_carrier
        self.clock = pair.clock
        self.answers = answers
        self.opened = 0
        self.asked = []
        self.pings = 0

    def read(self):
        for _ in range(1000):
            self.clock.advance(0)
            if not self.carrier.sent:
                return
            for kind, flags, _, value, _ in FrameReader().receive(self.carrier.sent.popleft()):
                if kind == PING:
                    self.asked.append(value)
                    self.pings += 1
                elif flags & SYN:
                    self.opened += 1
            if not self.carrier.sent:
                self.session.carrier_drained()
            if self.answers:
                self.answer()

    def answer(self):
        asked, self.asked = self.asked, []
        for value in asked:
            self.session.carrier_received(encode(PING, ACK, 0, value))


class Sessions(SynchronousTestCase):
    def test_ping_measures_the_round_trip(self):
        pair = SessionPair()
        answer = pair.agent.ping()
        pair.clock.advance(0)
        pair.clock.advance(0.25)
        pair.pump()
        self.assertEqual(self.successResultOf(answer), 0.25)
        self.assertEqual(pair.agent._wire.rtt, 0.25)

    def test_round_trip_is_the_shortest_of_the_last_six(self):
        pair = SessionPair()
        seen = []
        for seconds in (0.3, 0.1, 0.2, 0.4, 0.4, 0.4, 0.4, 0.4, 0.5):
            answer = pair.agent.ping()
            pair.clock.advance(0)
            pair.clock.advance(seconds)
            pair.pump()
            self.assertAlmostEqual(self.successResultOf(answer), seconds)
            seen.append(round(pair.agent._wire.rtt, 3))
        self.assertEqual(seen, [0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.4])

    def test_answer_that_nobody_asked_for(self):
        pair = SessionPair()
        pair.agent.carrier_received(encode(PING, ACK, 0, 7))
        self.assertEqual(pair.agent._wire.rtt, 0)

    def test_pings_that_are_never_answered_do_not_pile_up(self):
        pair = SessionPair()
        pair.agent_carrier.blocked = True
        answers = [pair.agent.ping() for _ in range(MAX_PINGS)]
        for _ in range(1000):
            self.failureResultOf(pair.agent.ping(), StreamGone)
        pair.clock.advance(0)
        self.assertEqual(sum(map(len, pair.agent_carrier.sent)), MAX_PINGS * HEADER_SIZE)
        for answer in answers:
            self.assertNoResult(answer)
        pair.agent_carrier.blocked = False
        pair.pump()
        for answer in answers:
            self.successResultOf(answer)
        self.assertNoResult(pair.agent.ping())

    def test_session_without_a_carrier_ends_too(self):
        for end, reason in (("close", ConnectionDone), ("abort", ConnectionLost)):
            clock, lost, here = Clock(), [], Recorder()
            session = Session(clock, client=True)
            session.on_lost.append(lost.append)
            session.open_stream(here)
            getattr(session, end)(*(["done"] if end == "close" else []))
            self.assertIsInstance(lost[0].value, reason)
            self.assertIsInstance(here.lost.value, ConnectionLost)
            carrier = MemoryCarrier(session)
            session.attach(carrier)
            carrier.deliver()
            self.assertTrue(carrier.closed)
            session.go_away()
            self.assertEqual((len(lost), clock.getDelayedCalls()), (1, []))

    def test_peers_streams_that_nobody_takes_do_not_pile_up(self):
        """SYNs without end, to a session that refuses them: by a bound of answers it is a breach."""
        pair = SessionPair(max_streams=64)
        pair.server_carrier.blocked = True
        syns = [encode(WINDOW_UPDATE, SYN, 2 * number + 1, 0) for number in range(10_000)]
        for syn in syns:
            pair.server.carrier_received(syn)
        self.assertTrue(pair.server.going)
        self.assertLess(sum(map(len, pair.server_carrier.sent)), 20_000)
        pair.server_carrier.blocked = False
        codes = []
        pair.agent.on_go_away.append(codes.append)
        pair.pump()
        self.assertEqual(pair.server_carrier.close_code, CloseCode.PROTOCOL_ERROR)
        self.assertEqual(codes, [GoAwayCode.PROTOCOL_ERROR])  # though the queue of answers was full

    def test_go_away_ends_an_idle_session(self):
        accepted = Recorders(HalfCloseRecorder)
        pair = SessionPair(server_factory=accepted)
        here = HalfCloseRecorder()
        pair.agent.open_stream(here)
        pair.pump()
        pair.server.go_away()
        pair.pump()
        self.assertTrue(pair.agent.going)
        for _ in range(5):
            pair.clock.advance(1)
            pair.agent.sweep()
            pair.pump()
        here.transport.write(b"still")
        pair.pump()
        self.assertEqual(accepted.built[0].received, b"still")
        here.transport.loseConnection()
        accepted.built[0].transport.loseConnection()
        pair.pump()
        self.assertFalse(pair.agent.lost)
        pair.agent.sweep()
        pair.pump()
        self.assertEqual(pair.agent_carrier.close_code, 1000)
        self.assertTrue(pair.agent.lost)
        self.assertTrue(pair.server.lost)

    def test_peer_that_says_go_away_has_a_second_to_close(self):
        pair = SessionPair()
        pair.agent.sweep()
        pair.server.go_away()
        pair.pump()
        pair.clock.advance(0.9)
        pair.agent.sweep()
        self.assertIsNone(pair.agent_carrier.close_code)
        pair.clock.advance(0.1)
        pair.agent.sweep()
        self.assertIsNotNone(pair.agent_carrier.close_code)

    def test_idle_session_lives_without_a_go_away(self):
        pair = SessionPair()
        for _ in range(100):
            pair.clock.advance(1)
            pair.agent.sweep()
        self.assertIsNone(pair.agent_carrier.close_code)

    def test_streams_that_a_leaving_peer_did_not_take_are_lost(self):
        accepted = Recorders(HalfCloseRecorder)
        pair = SessionPair(server_factory=accepted)
        here = HalfCloseRecorder()
        pair.agent.open_stream(here)
        pair.clock.advance(0)
        told = []
        pair.agent.on_go_away.append(lambda code: told.append((code, here.lost, pair.agent.going)))
        pair.agent.carrier_received(encode(GO_AWAY, 0, 0, 0))
        self.assertEqual(told, [(0, None, True)])  # told first: who asks again must not ask here
        self.assertIsInstance(here.lost.value, ConnectionLost)

    def test_go_away_with_an_error_ends_the_session(self):
        pair, lost = SessionPair(), []
        pair.agent.on_lost.append(lost.append)
        codes = []
        pair.agent.on_go_away.append(codes.append)
        with capturedLogs() as logs:
            pair.agent.carrier_received(encode(GO_AWAY, 0, 0, 2) * 5000)
        pair.pump()
        self.assertIsInstance(lost[0].value, ConnectionLost)
        self.assertEqual((codes, len(logs)), ([2], 1))  # however often it is said in one message

    def test_late_acknowledgements_block_nobody_for_long(self):
        """256 streams whose peer has them and says nothing, as libp2p's does: the next wait for a moment."""
        pair = SessionPair()
        pair.agent.open_stream(Recorder())
        silent = Peer(pair)
        for _ in range(2 * MAX_UNACKED + 10):
            pair.agent.open_stream(Recorder()).write(b"x")
        silent.read()
        self.assertEqual(silent.opened, MAX_UNACKED)
        pair.clock.advance(STALL)
        silent.read()
        self.assertEqual(silent.opened, 2 * MAX_UNACKED)
        pair.clock.advance(STALL)
        silent.read()
        self.assertEqual(silent.opened, 2 * MAX_UNACKED + 11)
        self.assertEqual(silent.pings, 2)  # one for each time that the backlog was full
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_backlog_that_moves_is_respected(self):
        pair = SessionPair()
        slow = Peer(pair)
        for _ in range(MAX_UNACKED + 100):
            pair.agent.open_stream(Recorder())
        slow.read()
        for taken in range(1, 20):
            pair.agent.carrier_received(encode(WINDOW_UPDATE, ACK, 2 * taken - 1, 0))
            pair.clock.advance(STALL)
            slow.read()
            self.assertEqual(slow.opened, MAX_UNACKED + taken)

    def test_backlog_of_a_peer_that_answers_nothing_stays(self):
        pair = SessionPair()
        silent = Peer(pair, answers=False)
        for _ in range(MAX_UNACKED + 100):
            pair.agent.open_stream(Recorder())
        for _ in range(100):
            silent.read()
            pair.clock.advance(STALL)
            pair.agent.sweep()
        self.assertEqual(silent.opened, MAX_UNACKED)
        silent.answers = True
        silent.answer()
        pair.clock.advance(STALL)
        silent.read()
        self.assertEqual(silent.opened, MAX_UNACKED + 100)

    def test_backlog_is_looked_at_again_when_pings_were_not_answered(self):
        pair = SessionPair()
        silent = Peer(pair, answers=False)
        for _ in range(MAX_PINGS):
            pair.agent.ping().addErrback(lambda reason: None)
        for _ in range(MAX_UNACKED + 100):
            pair.agent.open_stream(Recorder())
        silent.read()
        silent.answers = True
        silent.answer()
        pair.clock.advance(STALL)
        silent.read()
        self.assertEqual(silent.opened, MAX_UNACKED)
        pair.agent.sweep()  # asks again
        silent.read()
        pair.clock.advance(STALL)
        silent.read()
        self.assertEqual(silent.opened, MAX_UNACKED + 100)

    def test_session_lost_while_a_backlog_is_watched(self):
        pair = SessionPair()
        silent = Peer(pair)
        for _ in range(MAX_UNACKED + 1):
            pair.agent.open_stream(Recorder())
        silent.read()
        self.assertEqual(len(pair.clock.getDelayedCalls()), 1)
        pair.agent_carrier.lose()
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_close_while_the_carrier_is_busy(self):
        accepted = Recorders()
        pair, codes = SessionPair(server_factory=accepted), []
        pair.server.on_go_away.append(codes.append)
        here = Recorder()
        stream = pair.agent.open_stream(here)
        pair.clock.advance(0)
        pair.agent.carrier_paused()
        stream.write(b"last words")
        self.assertEqual(pair.clock.getDelayedCalls(), [])
        pair.agent.close("done")
        pair.agent.close("done again")
        with self.assertRaisesRegex(StreamGone, "is being closed"):
            pair.agent.open_stream(Recorder())
        pair.pump()
        with self.assertRaisesRegex(StreamGone, "is lost"):
            pair.agent.open_stream(Recorder())
        self.assertEqual((accepted.built[0].received, codes), (b"last words", [GoAwayCode.NORMAL]))
        self.assertEqual(pair.agent_carrier.close_reason, "done")
        self.assertTrue(pair.agent.lost)

    def test_what_comes_behind_an_abort_is_dropped(self):
        """The carrier may have read it already."""
        pair, here = SessionPair(server_factory=Recorders()), Recorder()
        pair.agent.open_stream(here)
        pair.pump()
        pair.agent_carrier.abort = lambda: None
        pair.agent.abort()
        pair.clock.advance(5)
        pair.agent.carrier_received(encode(DATA, 0, 1, 4) + b"late")
        self.assertEqual((here.received, pair.agent.last_received), (b"", 0.0))

    def test_session_closes_its_carrier_once(self):
        pair, closed = SessionPair(), []
        pair.agent_carrier.close = lambda *how: closed.append(how)
        pair.agent.close("done", 4012)
        pair.agent.close("done again")
        self.assertEqual(closed, [("done", 4012)])
        self.assertEqual(sum(map(len, pair.agent_carrier.sent)), HEADER_SIZE)

    def test_session_knows_whether_it_is_connected_and_to_whom(self):
        session = Session(Clock(), client=True)
        self.assertEqual((session.connected, session.peer), (False, UNKNOWN_PEER))
        carrier = MemoryCarrier(session)
        peer = IPv4Address("TCP", "192.0.2.1", 4)
        session.attach(carrier, peer)
        self.assertEqual((session.connected, session.peer), (True, peer))
        carrier.lose()
        self.assertEqual((session.connected, session.peer), (False, peer))
        self.assertEqual(session.lost, True)
        late = MemoryCarrier(session)
        session.attach(late)
        late.deliver()
        self.assertTrue(late.closed)
        self.assertFalse(session.connected)

    def test_close_while_the_line_is_full(self):
        """What waits for the line goes out at once, and before the end."""
        pair = SessionPair(server_factory=Recorders())
        sent = pair.agent_carrier.sent
        pair.agent_carrier.send = lambda data: sent.append(data) or True
        stream = pair.agent.open_stream(Recorder())
        stream.write(bytes(200_000))
        pair.clock.advance(0)
        self.assertGreater(stream.state.queued, 100_000)
        pair.agent.close("done")
        self.assertEqual(stream.state.queued, 0)
        self.assertEqual(sum(map(len, sent)) // 1000, 200)

    def test_bytes_of_a_stream_whose_protocol_is_gone_count(self):
        accepted = Recorders()
        pair = SessionPair(server_factory=accepted)
        here = HalfCloseRecorder()
        pair.agent.open_stream(here)
        pair.pump()
        here.transport.pauseProducing()
        accepted.built[0].transport.write(bytes(400_000))  # more than the window
        here.transport.loseWriteConnection()
        pair.pump()
        self.assertIsNotNone(accepted.built[0].lost)
        self.assertEqual(pair.server.stream_count, 1)
        here.transport.resumeProducing()
        pair.pump()
        self.assertEqual(len(here.received), 400_000)
        self.assertEqual(pair.server.stream_count, 0)

    def test_bounds_are_those_of_the_documents(self):
        self.assertEqual((MAX_PINGS, STALL, MIN_PULL, MAX_PULL), (8, 0.25, 2048, 262_144))
        self.assertEqual((HIGH_WATER, LINGER, GOING, GRACE, PUT_OFF), (65_536, 60.0, 1.0, 60.0, 7))

    def test_session_that_takes_no_more_streams_is_going(self):
        for end in ("go_away", "close", "abort"):
            pair = SessionPair()
            self.assertEqual((pair.agent.going, pair.server.going), (False, False))
            getattr(pair.server, end)(*["done"] * (end == "close"))
            self.assertEqual(pair.server.going, end != "go_away")
            pair.pump()
            self.assertTrue(pair.agent.going)

    def test_bytes_before_those_of_the_protocol(self):
        pair = SessionPair(server_factory=Recorders())
        here = Recorder()
        here.connectionMade = lambda: here.transport.write(b"hello")
        pair.agent.open_stream(here, b"head, ")
        pair.pump()
        self.assertEqual(pair.server.protocols[0].received, b"head, hello")
        self.assertTrue(here.transport.getTcpNoDelay())
        self.assertTrue(here.transport.getTcpKeepAlive())

    def test_small_frames_beside_bulk_make_pulls_short_for_a_while(self):
        clock = Clock()
        session = Session(clock, client=True)
        carrier = MemoryCarrier(session)
        session.attach(carrier)
        pacer = session._pacer
        pacer.window, pacer.pull, pacer.frame = MAX_WINDOW, MAX_PULL, MAX_PULL // 4  # of a fast line
        first, second, small = (session.open_stream(Recorder()) for _ in range(3))

        def pulled():
            carrier.sent.clear()
            session.carrier_drained()
            clock.advance(0)
            return sum(map(len, carrier.sent))

        first.write(b"b" * 180_000)
        self.assertGreater(pulled(), 180_000)
        second.write(b"b" * 180_000)
        small.write(b"small")
        self.assertGreater(pulled(), 180_000)  # both; from now on a small one may come at any time
        for stream in (first, second):
            stream.write(b"b" * 50_000)
        self.assertLess(pulled(), SHARED_PULL + 2 * MAX_FRAME)
        clock.advance(SHARED_FOR)
        small.write(b"alone")
        self.assertLess(pulled(), 50_000)
        third = session.open_stream(Recorder())
        third.write(b"b" * 180_000)
        self.assertGreater(pulled(), 180_000)

    def test_what_is_queued_goes_out_with_the_first_carrier(self):
        clock = Clock()
        session = Session(clock, client=True)
        session.open_stream(Recorder()).write(b"early")
        clock.advance(0)
        carrier = MemoryCarrier(session)
        session.attach(carrier)
        clock.advance(0)
        self.assertEqual(list(carrier.sent), [encode(DATA, SYN, 1, 5) + b"early"])

    def test_nothing_goes_to_a_carrier_that_is_lost(self):
        pair, sent = SessionPair(), []
        stream = pair.agent.open_stream(Recorder())
        pair.pump()
        pair.agent_carrier.send = sent.append
        stream.write(b"x")
        pair.agent_carrier.lose()
        pair.clock.advance(0)
        pair.agent.go_away()
        pair.clock.advance(0)
        pair.agent.close("done")
        pair.agent.abort()
        self.assertEqual((sent, pair.agent_carrier.close_code), ([], None))

    def test_second_loss_is_none(self):
        pair, lost = SessionPair(), []
        pair.agent.on_lost.append(lost.append)
        pair.agent_carrier.lose()
        pair.agent.carrier_lost(lost[0])
        pair.agent.carrier_received(encode(WINDOW_UPDATE, SYN, 2, 0))
        self.assertEqual((len(lost), pair.agent.stream_count), (1, 0))

    def test_lingering_stream_is_forgotten_however_it_ends(self):
        """Its id may come again before a minute is over, and that stream is another."""
        syn = encode(WINDOW_UPDATE, SYN, 1, 0)
        for end in (FIN, RST):
            for held in (False, True):
                accepted = Recorders()
                pair = SessionPair(server_factory=accepted)
                pair.server.carrier_received(syn)
                first = accepted.built[0]
                if held:  # the FIN is read when the stream has nothing more to wait for
                    first.transport.pauseProducing()
                    pair.server.carrier_received(encode(DATA, 0, 1, 1) + b"x")
                    pair.server.carrier_received(encode(WINDOW_UPDATE, end, 1, 0))
                    first.transport.resumeProducing()
                    pair.pump()
                else:
                    first.transport.loseConnection()
                    pair.pump()
                    self.assertIsNotNone(first.lost)
                    pair.server.carrier_received(encode(WINDOW_UPDATE, end, 1, 0))
                pair.server.carrier_received(syn)
                pair.clock.advance(61)
                pair.server.sweep()
                self.assertIsNone(accepted.built[1].lost, (end, held))
                self.assertEqual(pair.server.stream_count, 1)

    def test_id_that_is_used_again_is_not_swept(self):
        accepted = Recorders(HalfCloseRecorder)
        pair = SessionPair(server_factory=accepted)
        syn, fin = encode(WINDOW_UPDATE, SYN, 1, 0), encode(WINDOW_UPDATE, FIN, 1, 0)
        for _ in range(2):
            pair.server.carrier_received(syn + fin)
            accepted.built[-1].transport.loseConnection()
            pair.pump()
            pair.server.carrier_received(syn)
            pair.clock.advance(100)
            pair.server.sweep()
            self.assertIsNone(accepted.built[-1].lost)
            pair.server.carrier_received(encode(WINDOW_UPDATE, RST, 1, 0))

    def test_no_more_is_under_way_than_the_line_carries(self):
        """Over a carrier that takes everything: until the peer answers a ping only control frames go out."""
        pair = SessionPair(server_factory=Recorders())
        pair.agent_carrier.send = lambda data: pair.agent_carrier.sent.append(data) or True
        stream, small = pair.agent.open_stream(Recorder()), pair.agent.open_stream(Recorder())
        stream.write(bytes(250_000))
        pair.clock.advance(0)
        first = sum(map(len, pair.agent_carrier.sent))
        self.assertGreaterEqual(first, FIRST_WINDOW)
        self.assertLess(first, FIRST_WINDOW + MIN_PULL + MAX_FRAME)
        small.write(b"small")
        pair.agent.carrier_received(encode(PING, SYN, 0, 77))
        pair.clock.advance(0)
        self.assertEqual(pair.agent_carrier.sent[-1], encode(PING, ACK, 0, 77))
        self.assertEqual(sum(map(len, pair.agent_carrier.sent)), first + HEADER_SIZE)
        pair.pump()
        self.assertEqual(len(pair.server.protocols[0].received), 250_000)
        self.assertEqual(pair.server.protocols[1].received, b"small")

    def test_peer_that_answers_no_ping_is_sent_all(self):
        pair = SessionPair(server_factory=Recorders())
        pair.agent_carrier.send = lambda data: pair.agent_carrier.sent.append(data) or True
        stream = pair.agent.open_stream(Recorder())
        stream.write(bytes(250_000))
        for _ in range(15):
            pair.clock.advance(1)
            pair.agent.sweep()
        pair.clock.advance(0)
        self.assertEqual(stream.state.queued, 0)

    def test_new_connection_is_measured_anew(self):
        pair = SessionPair(server_factory=Recorders())
        pair.agent_carrier.send = lambda data: pair.agent_carrier.sent.append(data) or True
        stream = pair.agent.open_stream(Recorder())
        stream.write(bytes(250_000))
        pair.clock.advance(0)
        before = stream.state.queued
        pair.agent.connected_to(pair.agent.peer)
        pair.agent.carrier_drained()
        self.assertLess(stream.state.queued, before - FIRST_WINDOW // 2)

    def test_lost_session_fails_its_pings(self):
        pair = SessionPair()
        answer = pair.agent.ping()
        pair.agent_carrier.abort()
        pair.pump()
        self.failureResultOf(answer, ConnectionLost)
        self.failureResultOf(pair.agent.ping(), ConnectionLost)

    def test_go_away_is_told_and_stops_new_streams(self):
        pair, codes = SessionPair(), []
        pair.agent.on_go_away.append(codes.append)
        pair.server.go_away()
        pair.pump()
        self.assertEqual(codes, [GoAwayCode.NORMAL])
        with self.assertRaises(StreamGone):
            pair.agent.open_stream(Recorder())

    def test_breach_is_answered_with_go_away_and_the_end(self):
        pair, lost, codes = SessionPair(), [], []
        pair.server.on_lost.append(lost.append)
        pair.agent.on_go_away.append(codes.append)
        pair.server.carrier_received(b"GET / HTTP/1.1\r\n\r\n")
        pair.server.carrier_received(b"GET / HTTP/1.1\r\n\r\n")
        pair.pump()
        self.assertEqual((len(lost), codes), (1, [GoAwayCode.PROTOCOL_ERROR]))
        self.assertEqual(pair.server_carrier.close_code, CloseCode.PROTOCOL_ERROR)
        self.assertIn("version 71", pair.server_carrier.close_reason)

    def test_close_flushes_then_says_go_away(self):
        accepted = Recorders()
        pair, codes = SessionPair(server_factory=accepted), []
        pair.server.on_go_away.append(codes.append)
        here = Recorder()
        pair.agent.open_stream(here).write(b"last words")
        pair.agent.close("done", 4012)
        pair.pump()
        self.assertEqual(pair.server_carrier.peer_code, 4012)
        self.assertEqual((accepted.built[0].received, codes), (b"last words", [GoAwayCode.NORMAL]))
