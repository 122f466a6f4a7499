"""One stream's failing protocol, producer or factory loses its own stream, and no other anything."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer, IPushProducer
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from burrow.errors import StreamGone
from burrow.mux.feed import HIGH_WATER
from burrow.testing import HalfCloseRecorder, Recorder, Recorders, SessionPair
from burrow.wire.frames import DATA, SYN, WINDOW_UPDATE, encode

CALLBACKS = ["connectionMade", "dataReceived", "readConnectionLost", "connectionLost"]
PRODUCING = ["pauseProducing", "resumeProducing", "stopProducing"]


class ProgrammingError(Exception):
    """A protocol's own mistake."""


def fail(*arguments):
    raise ProgrammingError


@implementer(IPushProducer, IPullProducer)
class Producer:
    """Counts its calls, and fails in one of them."""

    def __init__(self, bad=""):
        self.calls = []
        self.bad = bad

    def call(self, name):
        self.calls.append(name)
        if self.bad == name:
            fail()

    def pauseProducing(self):
        self.call("pauseProducing")

    def resumeProducing(self):
        self.call("resumeProducing")

    def stopProducing(self):
        self.call("stopProducing")


@implementer(IHalfCloseableProtocol)
class Faulty(HalfCloseRecorder):
    """Raises in one of its callbacks; records like any other before."""

    def __init__(self, bad):
        super().__init__()
        if bad != "connectionLost":
            setattr(self, bad, fail)
        self.bad = bad

    def connectionLost(self, reason):
        super().connectionLost(reason)
        if self.bad == "connectionLost":
            fail()


class Failing(SynchronousTestCase):
    def setUp(self):
        self.bad = {}
        self.accepted = Recorders(self.make)
        self.pair = SessionPair(server_factory=self.accepted)

    def make(self):
        number = len(self.accepted.built)
        return Faulty(self.bad[number]) if number in self.bad else HalfCloseRecorder()

    def flushed(self, count=1):
        self.assertEqual(len(self.flushLoggedErrors(ProgrammingError)), count)

    def test_callbacks(self):
        for bad in CALLBACKS:
            with self.subTest(bad):
                self.setUp()
                self.bad = {1: bad}
                ends = [HalfCloseRecorder() for _ in range(3)]
                for end in ends:
                    self.pair.agent.open_stream(end)
                    end.transport.write(b"x" * 10)
                    end.transport.loseWriteConnection()
                self.pair.pump()  # all of it is one message, the failing stream's in the middle
                first, failing, last = self.accepted.built
                for other in (first, last):
                    self.assertEqual((other.received, other.read_lost), (b"x" * 10, True))
                    other.transport.write(b"answer")
                    other.transport.loseConnection()
                if bad == "connectionLost":
                    failing.transport.loseConnection()
                self.pair.pump()
                for end in (ends[0], ends[2]):
                    self.assertEqual((end.received, end.read_lost), (b"answer", True))
                self.assertIsNotNone(failing.lost)
                self.assertIsNotNone(ends[1].lost)
                if bad != "connectionLost":
                    self.assertIsInstance(failing.lost.value, ConnectionAborted)
                    self.assertIsInstance(ends[1].lost.value, ConnectionLost)
                self.flushed()
                self.assertEqual((self.pair.agent.stream_count, self.pair.server.stream_count), (0, 0))
                self.assertFalse(self.pair.server.lost)

    def test_factory(self):
        builds = iter([fail, self.accepted.buildProtocol])
        self.accepted.buildProtocol = lambda addr: next(builds)(addr)
        ends = [Recorder(), Recorder()]
        for end in ends:
            self.pair.agent.open_stream(end).write(b"hello")
        self.pair.pump()
        self.flushed()
        self.assertIsInstance(ends[0].lost.value, ConnectionLost)
        self.assertEqual(self.accepted.built[0].received, b"hello")

    def test_protocol_under_which_a_stream_is_opened(self):
        failing = Faulty("connectionMade")
        stream = self.pair.agent.open_stream(failing)
        self.flushed()
        self.assertIsNone(failing.lost)  # as on a socket: not before the call returns
        self.pair.pump()
        self.assertIsInstance(failing.lost.value, ConnectionAborted)
        self.assertFalse(stream.connected)
        self.assertEqual(self.pair.agent.stream_count, 0)

    def test_protocol_that_takes_over(self):
        here = Recorder()
        self.pair.agent.open_stream(here)
        self.pair.pump()
        second = Faulty("connectionMade")
        there = self.accepted.built[0]
        there.dataReceived = lambda data: there.transport.become(second, data)
        here.transport.write(b"x")
        self.pair.pump()
        self.flushed()
        self.assertIsInstance(second.lost.value, ConnectionAborted)
        self.assertIsInstance(here.lost.value, ConnectionLost)

    def test_push_producers(self):
        for bad in PRODUCING:
            with self.subTest(bad):
                self.setUp()
                here, other = HalfCloseRecorder(), HalfCloseRecorder()
                for end in (here, other):
                    self.pair.agent.open_stream(end)
                producer, healthy = Producer(bad), Producer()
                here.transport.registerProducer(producer, True)
                other.transport.registerProducer(healthy, True)
                for end in (here, other):
                    end.transport.write(bytes(HIGH_WATER + 1))
                self.pair.pump()
                if bad == "stopProducing":
                    self.accepted.built[0].transport.abortConnection()
                    self.pair.pump()
                self.flushed()
                self.assertIsInstance(
                    here.lost.value, ConnectionLost if bad == "stopProducing" else ConnectionAborted
                )
                self.assertEqual(producer.calls[-1], "stopProducing")
                self.assertEqual(healthy.calls, ["pauseProducing", "resumeProducing"])
                self.assertEqual(len(self.accepted.built[-1].received), HIGH_WATER + 1)

    def test_pull_producer(self):
        here = HalfCloseRecorder()
        self.pair.agent.open_stream(here)
        producer = Producer()
        here.transport.registerProducer(producer, False)
        producer.bad = "resumeProducing"
        here.transport.write(b"x")
        self.pair.pump()
        self.flushed()
        self.assertIsInstance(here.lost.value, ConnectionAborted)

    def test_every_stream_hears_of_the_end_of_the_session(self):
        ends = [Faulty("connectionLost"), HalfCloseRecorder(), HalfCloseRecorder()]
        lost = []
        self.pair.agent.on_lost.append(lost.append)
        for end in ends:
            self.pair.agent.open_stream(end)
        producer = Producer("stopProducing")
        ends[1].transport.registerProducer(producer, True)
        self.pair.agent_carrier.abort()
        self.pair.pump()
        self.assertTrue(all(end.lost is not None for end in ends))
        self.assertEqual(len(lost), 1)
        self.flushed(2)

    def test_user_who_fails_at_a_go_away(self):
        self.pair.agent.on_go_away.append(fail)
        here = HalfCloseRecorder()
        self.pair.agent.open_stream(here)
        self.pair.pump()
        self.pair.server.go_away()
        self.accepted.built[0].transport.write(b"goes on")
        self.pair.pump()
        self.flushed()
        self.assertEqual(here.received, b"goes on")

    def test_no_stream_is_opened_behind_an_abort(self):
        here = self.pair.server
        first = HalfCloseRecorder()
        self.accepted.buildProtocol = lambda addr: first
        first.dataReceived = lambda data: here.abort()
        here.carrier_received(encode(DATA, SYN, 1, 1) + b"x" + encode(WINDOW_UPDATE, SYN, 3, 0))
        here.carrier_received(encode(WINDOW_UPDATE, SYN, 5, 0))
        self.assertEqual(here.stream_count, 1)
        with self.assertRaises(StreamGone):
            here.open_stream(Recorder())
        self.pair.pump()
        self.assertIsInstance(first.lost.value, ConnectionLost)
        self.assertEqual(here.stream_count, 0)


class Random(HalfCloseRecorder):
    """Raises in the callbacks that it is told to, and does as it is told in the others."""

    def __init__(self, bad):
        super().__init__()
        self.bad = bad

    def _maybe(self, name):
        if name in self.bad:
            fail()

    def connectionMade(self):
        self.transport.registerProducer(Producer(next(iter(self.bad & set(PRODUCING)), "")), True)
        self._maybe("connectionMade")

    def dataReceived(self, data):
        super().dataReceived(data)
        self._maybe("dataReceived")

    def readConnectionLost(self):
        super().readConnectionLost()
        self._maybe("readConnectionLost")

    def connectionLost(self, reason):
        assert self.lost is None
        super().connectionLost(reason)
        self._maybe("connectionLost")


def logged_failures():
    """Ours only: whatever else is logged with a failure is an error of the code under test."""
    events = []

    def observe(event):
        if "log_failure" in event:
            events.append(event["log_failure"])

    globalLogPublisher.addObserver(observe)
    return events, lambda: globalLogPublisher.removeObserver(observe)


ACTIONS = ["write", "write", "write much", "half close", "lose", "abort", "break", "pause", "resume", "pump"]


@settings(max_examples=150, deadline=None)
@given(
    kinds=st.lists(
        st.one_of(st.none(), st.frozensets(st.sampled_from(CALLBACKS + PRODUCING), min_size=1)),
        max_size=5,
    ).map(lambda kinds: [None, *kinds]),
    steps=st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.sampled_from(ACTIONS)), max_size=40),
)
def test_healthy_streams_lose_nothing_beside_failing_ones(kinds, steps):
    """Streams that fail in any callback, doing anything, beside others, which get all that is theirs."""
    failures, stop = logged_failures()
    try:
        ends = [HalfCloseRecorder() if bad is None else Random(set(bad)) for bad in kinds]
        ends_far = [HalfCloseRecorder() if bad is None else Random(set(bad)) for bad in kinds]
        far = Recorders()
        # Streams that failed before they were announced are not seen here: ids tell which one it is.
        far.buildProtocol = lambda addr: ends_far[addr.stream_id // 2]
        pair = SessionPair(server_factory=far)
        for end in ends:
            pair.agent.open_stream(end)
        pair.pump()
        known = [number for number, end in enumerate(ends_far) if end.transport is not None]
        written = [[b"", b""] for _ in kinds]
        for number, side, action in steps:
            number = known[number % len(known)]
            end = (ends if side else ends_far)[number]
            if action == "pump":
                pair.pump()
            elif action in ("write", "write much"):
                chunk = bytes([number]) * (1 if action == "write" else 100_000)
                end.transport.write(chunk)
                written[number][side] += chunk
            elif action == "pause":
                end.transport.pauseProducing()
            elif action == "resume":
                end.transport.resumeProducing()
            elif kinds[number] is not None:
                getattr(
                    end.transport,
                    {
                        "half close": "loseWriteConnection",
                        "lose": "loseConnection",
                        "abort": "abortConnection",
                        "break": "breakConnection",
                    }[action],
                )()
        everybody = ends + [ends_far[number] for number in known]
        for end in everybody:
            end.transport.resumeProducing()
        pair.pump()
        for number, bad in enumerate(kinds):
            if bad is None:
                assert ends_far[number].received == written[number][True]
                assert ends[number].received == written[number][False]
                assert ends[number].lost is ends_far[number].lost is None
        assert not pair.agent.lost
        assert not pair.server.lost
        # And with the session, every one is told, once.
        pair.agent_carrier.abort()
        pair.pump()
        assert all(end.lost is not None for end in everybody)
        assert all(failure.check(ProgrammingError) for failure in failures)
    finally:
        stop()
