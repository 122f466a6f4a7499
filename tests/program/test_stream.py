"""Tests for L{burrow.program.stream} and L{burrow.program.exchange}: without threads."""

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from burrow.program.exchange import LIMIT
from burrow.program.stream import CONTINUE, AppStream

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


class Now:
    """A reactor whose threads are one."""

    def callFromThread(self, function, *arguments):
        function(*arguments)


class Streams(SynchronousTestCase):
    def setUp(self):
        self.exchanges = []
        self.stream = AppStream(Now(), self.exchanges.append, "[::1]:5000", "https")
        self.transport = StringTransport()
        self.stream.makeConnection(self.transport)

    @property
    def reading(self):
        return self.transport.producerState == "producing"

    def test_requests_come_one_after_the_other(self):
        self.stream.dataReceived(GET % 1 + GET % 2)
        (first,) = self.exchanges
        self.assertEqual((first.head.target, first.visitor, first.whole), (b"/1", ("::1", 5000), True))
        self.assertFalse(self.reading)
        first.send(b"answer", last=True)
        self.assertEqual(self.transport.value(), b"answer")
        self.assertEqual(self.exchanges[1].head.target, b"/2")
        self.assertTrue(self.reading)

    def test_a_body_is_read_no_faster_than_it_is_taken(self):
        self.stream.dataReceived(POST % (3 * LIMIT))
        (one,) = self.exchanges
        self.stream.dataReceived(b"x" * LIMIT)
        self.assertTrue(self.reading)
        self.stream.dataReceived(b"x" * LIMIT)
        self.assertFalse(self.reading)
        self.assertEqual(len(one.take()), LIMIT)
        self.assertFalse(self.reading)
        self.assertEqual(len(one.take(LIMIT - 10)), LIMIT - 10)
        self.assertTrue(self.reading)
        self.stream.dataReceived(b"x" * LIMIT)
        self.assertTrue(one.whole)

    def test_a_body_that_comes_byte_by_byte_takes_no_more(self):
        self.stream.dataReceived(POST % LIMIT)
        (one,) = self.exchanges
        for number in range(2000):
            self.stream.dataReceived(b"%d" % (number % 10))
        self.assertEqual(len(one._incoming), 4)
        self.assertEqual(one.take(), b"0123456789" * 51 + b"01")

    def test_an_answer_is_sent_no_faster_than_it_is_taken(self):
        self.stream.dataReceived(GET % 1)
        (one,) = self.exchanges
        changes = []
        one.on_change = lambda: changes.append(one.full)
        self.stream.pauseProducing()
        one.send(b"more")
        self.assertTrue(one.full)
        self.stream.resumeProducing()
        self.assertEqual(changes[-1], False)

    def test_what_the_app_does_not_read_is_dropped(self):
        self.stream.dataReceived(POST % (4 * LIMIT) + b"x" * 2 * LIMIT)
        self.assertFalse(self.reading)
        self.exchanges[0].send(b"answer", last=True)
        self.assertTrue(self.reading)
        self.stream.dataReceived(b"x" * 2 * LIMIT + GET % 2)
        self.assertEqual(self.exchanges[1].head.target, b"/2")

    def test_a_visitor_that_leaves(self):
        self.stream.dataReceived(POST % 10 + b"x")
        self.stream.connectionLost(Failure(ConnectionDone()))
        (one,) = self.exchanges
        self.assertTrue(one.gone)
        one.send(b"to nobody", last=True)
        self.assertEqual(self.transport.value(), b"")

    def test_a_half_that_is_closed(self):
        self.stream.dataReceived(GET % 1)
        self.stream.readConnectionLost()
        (one,) = self.exchanges
        self.assertEqual((one.left, one.gone), (True, False))
        one.send(b"answer", last=True)
        self.assertEqual(self.transport.value(), b"answer")
        self.assertTrue(self.transport.disconnecting)

    def test_a_half_that_is_closed_in_the_middle(self):
        self.stream.dataReceived(POST % 10 + b"x")
        self.stream.readConnectionLost()
        self.assertTrue(self.exchanges[0].gone)

    def test_what_is_no_request(self):
        self.stream.dataReceived(b"nonsense\r\n\r\n")
        self.assertIn(b"HTTP/1.1 400 Bad Request\r\n", self.transport.value())
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.exchanges, [])

    def test_a_body_that_is_none(self):
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.stream.dataReceived(head + b"nonsense\r\n")
        self.assertTrue(self.exchanges[0].gone)

    def test_a_visitor_that_asks_whether_to_send(self):
        self.stream.dataReceived(POST[:-2] % 3 + b"Expect: 100-continue\r\n\r\n")
        self.assertEqual(self.transport.value(), CONTINUE)

    def test_an_answer_that_breaks_off(self):
        self.stream.dataReceived(GET % 1)
        self.exchanges[0].send(b"half of")
        self.exchanges[0].break_off()
        self.assertEqual(self.transport.value(), b"half of")
        self.assertTrue(self.transport.disconnected or self.transport.disconnecting)
