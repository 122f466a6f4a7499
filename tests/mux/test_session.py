"""Tests for L{burrow.mux.session} and L{burrow.mux.stream}, on two sessions joined in memory."""

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from burrow.errors import StreamGone
from burrow.mux.stream import HIGH_WATER
from burrow.testing import HalfCloseRecorder, Recorder, Recorders, SessionPair
from burrow.wire.frames import GoAwayCode


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
        here.transport.write(b"ping")
        self.pair.pump()
        there.transport.writeSequence([b"po", b"ng"])
        self.pair.pump()
        self.assertEqual((there.received, here.received), (b"ping", b"pong"))

    def test_writes_of_one_turn_are_one_message(self):
        here, _ = self.open()
        here.transport.write(b"a")
        here.transport.write(b"b")
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
        here.transport.loseConnection()
        there.transport.write(b"ignored")
        self.pair.pump()
        self.assertEqual(here.received, b"")

    def test_abort_resets_the_peer_and_calls_back_in_the_next_turn(self):
        here, there = self.open()
        here.transport.write(b"never")
        here.transport.abortConnection()
        self.assertIsNone(here.lost)
        self.pair.pump()
        self.assertIsInstance(here.lost.value, ConnectionAborted)
        self.assertIsInstance(there.lost.value, ConnectionLost)
        self.assertEqual(there.received, b"")

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
        self.assertEqual(there.received, b"")  # as on a socket: not before resumeProducing returns
        self.pair.pump()
        self.assertEqual((there.received, there.read_lost), (b"one two three", True))

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
        for end in (here, there):
            self.assertIsInstance(end.lost.value, ConnectionLost)
        with self.assertRaises(StreamGone):
            self.pair.agent.open_stream(Recorder())

    def test_without_a_factory_streams_are_reset(self):
        self.pair.server.factory = None
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
        self.pair.clock.advance(61)
        self.pair.agent.sweep()
        self.pair.pump()
        self.assertIsInstance(there.lost.value, ConnectionLost)

    def test_bytes_split_anywhere(self):
        self.pair.agent_carrier.chunk = 1
        here, there = self.open()
        here.transport.write(b"byte by byte")
        here.transport.loseConnection()
        self.pair.pump()
        self.assertEqual((there.received, there.read_lost), (b"byte by byte", True))


class Sessions(SynchronousTestCase):
    def test_ping_measures_the_round_trip(self):
        pair = SessionPair()
        answer = pair.agent.ping()
        pair.clock.advance(0)
        pair.clock.advance(0.25)
        pair.pump()
        self.assertEqual(self.successResultOf(answer), 0.25)
        self.assertEqual(pair.agent.rtt, 0.25)

    def test_lost_session_fails_its_pings(self):
        pair = SessionPair()
        answer = pair.agent.ping()
        pair.agent_carrier.abort()
        self.failureResultOf(answer, ConnectionLost)

    def test_go_away_is_told_and_stops_new_streams(self):
        pair, codes = SessionPair(), []
        pair.agent.on_go_away = codes.append
        pair.server.go_away()
        pair.pump()
        self.assertEqual(codes, [GoAwayCode.NORMAL])
        with self.assertRaises(StreamGone):
            pair.agent.open_stream(Recorder())

    def test_breach_is_answered_with_go_away_and_the_end(self):
        pair, lost, codes = SessionPair(), [], []
        pair.server.on_lost = lost.append
        pair.agent.on_go_away = codes.append
        pair.server.carrier_received(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual((len(lost), codes), (1, [GoAwayCode.PROTOCOL_ERROR]))

    def test_close_flushes_then_says_go_away(self):
        accepted = Recorders()
        pair, codes = SessionPair(server_factory=accepted), []
        pair.server.on_go_away = codes.append
        here = Recorder()
        pair.agent.open_stream(here).write(b"last words")
        pair.agent.close("done")
        self.assertEqual((accepted.built[0].received, codes), (b"last words", [GoAwayCode.NORMAL]))
