"""Tests for L{burrow.mux.pipe}: sockets whose network is the test, joined to each other or to a stream."""

from types import SimpleNamespace

import pytest
from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from burrow import allocator
from burrow.mux.pipe import BREAK_WITHIN, PipeEnd, break_off, end_writing
from burrow.testing import HalfCloseRecorder, Recorders, SessionPair


class Net(Clock):
    """A reactor that only remembers who wants to write."""

    def __init__(self):
        super().__init__()
        self.readers, self.writers = set(), set()
        self.addReader, self.removeReader = self.readers.add, self.readers.discard
        self.addWriter, self.removeWriter = self.writers.add, self.writers.discard


class Socket(FileDescriptor):
    """
    Twisted's own buffer, over a system's that takes C{room} bytes.

    @ivar sent: what the system took. @ivar broken: whether a write fails. @ivar end: how it ended, or None.
    """

    def __init__(self, net, protocol):
        super().__init__(net)
        self.connected = 1
        self.sent, self.room, self.broken, self.end, self.half_closed = b"", 10**9, False, None, False
        self.protocol = protocol
        protocol.makeConnection(self)

    def writeSomeData(self, data):
        if self.broken:
            return CONNECTION_LOST
        size = min(len(data), self.room)
        self.sent += bytes(data[:size])
        self.room -= size
        return size

    def _closeWriteConnection(self):
        self.half_closed = True

    def abortConnection(self):
        self.stopReading()
        self.stopWriting()
        self.reactor.callLater(0, self.connectionLost, Failure(ConnectionAborted()))

    def connectionLost(self, reason):
        if self.end is None:
            self.end = reason
            super().connectionLost(reason)
            self.protocol.connectionLost(reason)

    def flush(self):
        """What the reactor does with a socket that can be written to."""
        while self in self.reactor.writers:
            before = len(self.sent)
            result = self.doWrite()
            if result is not None:
                self.reactor.writers.discard(self)
                self.connectionLost(Failure(result))
            elif len(self.sent) == before and self in self.reactor.writers:
                return

    @property
    def reading(self):
        return self in self.reactor.readers


class Joined:
    """A pipe between two sockets."""

    def __init__(self):
        self.net = Net()
        self.ends = PipeEnd(), PipeEnd()
        self.left, self.right = (Socket(self.net, end) for end in self.ends)
        self.ends[0].join(self.ends[1])

    def run(self):
        self.net.advance(0)
        for socket in (self.left, self.right):
            socket.flush()
        self.net.advance(0)


def test_nothing_is_read_before_both_are_there():
    net = Net()
    socket = Socket(net, PipeEnd())
    assert not socket.reading
    socket.protocol.join(Socket(net, PipeEnd()).protocol)
    assert socket.reading


def test_half_closes_pass_and_then_the_end():
    pipe = Joined()
    pipe.left.protocol.dataReceived(b"hello")
    pipe.left.protocol.readConnectionLost()
    pipe.run()
    assert (pipe.right.sent, pipe.right.half_closed, pipe.right.end) == (b"hello", True, None)
    pipe.right.protocol.dataReceived(b"answer")
    pipe.run()
    assert pipe.left.sent == b"answer"
    pipe.right.connectionLost(Failure(CONNECTION_DONE))
    pipe.run()
    assert pipe.left.end.check(ConnectionDone)


def test_half_that_is_closed_before_the_other_end_is_there():
    net = Net()
    first = Socket(net, PipeEnd())
    first.protocol.readConnectionLost()
    second = Socket(net, PipeEnd())
    first.protocol.join(second.protocol)
    second.flush()
    assert second.half_closed
    assert not first.reading


@pytest.mark.parametrize("reason", [ConnectionLost, ConnectionAborted])
def test_what_breaks_is_broken_on_the_other_side_and_never_closed(reason):
    """Behind what had come before."""
    pipe = Joined()
    pipe.right.room = 3
    pipe.left.protocol.dataReceived(b"hello")
    pipe.left.connectionLost(Failure(reason()))
    pipe.run()
    assert (pipe.right.sent, pipe.right.end) == (b"hel", None)
    pipe.right.room = 10
    pipe.run()
    assert pipe.right.sent == b"hello"
    assert pipe.right.end.check(ConnectionAborted)
    assert not pipe.net.getDelayedCalls()


def test_socket_that_takes_nothing_is_reset_in_time():
    pipe = Joined()
    pipe.right.room = 0
    pipe.left.protocol.dataReceived(b"hello")
    pipe.left.connectionLost(Failure(CONNECTION_LOST))
    pipe.net.advance(BREAK_WITHIN - 1)
    assert pipe.right.end is None
    pipe.net.advance(1)
    pipe.net.advance(0)
    assert pipe.right.end.check(ConnectionAborted)


def test_socket_that_is_gone_is_not_waited_for():
    pipe = Joined()
    pipe.right.room = 0
    pipe.left.protocol.dataReceived(b"hello")
    pipe.left.connectionLost(Failure(CONNECTION_LOST))
    pipe.right.connectionLost(Failure(CONNECTION_LOST))
    assert not pipe.net.getDelayedCalls()


def test_transport_without_a_buffer_is_aborted_at_once():
    class Other:
        aborted = False

        def abortConnection(self):
            self.aborted = True

    other = Other()
    break_off(other)
    assert other.aborted


def test_failed_write_does_not_end_reading():
    """The peer answered and closed with our bytes unread: its answer is still to be read."""
    pipe = Joined()
    pipe.right.broken = True
    pipe.left.protocol.dataReceived(b"x" * 100_000)
    pipe.run()
    assert pipe.right.end is None
    pipe.right.protocol.dataReceived(b"answer")
    pipe.run()
    assert pipe.left.sent == b"answer"
    pipe.right.connectionLost(Failure(CONNECTION_LOST))
    pipe.run()
    assert pipe.left.end.check(ConnectionAborted)


def test_failed_write_ends_what_has_nothing_more_to_read():
    pipe = Joined()
    pipe.right.protocol.readConnectionLost()
    pipe.right.broken = True
    pipe.left.protocol.dataReceived(b"hello")
    pipe.run()
    assert pipe.right.end.check(ConnectionLost)


def test_transport_that_asks_its_protocol_is_left_as_it_is():
    """Our own reactor's asks what to do after a failed write; under TLS it cannot."""

    class Asking(Socket):
        asks_its_protocol = True

    end = PipeEnd()
    socket = Asking(Net(), end)
    assert "writeSomeData" not in vars(socket)
    assert end.reads_after_failed_write
    end.readConnectionLost()
    assert not end.reads_after_failed_write
    outer = SimpleNamespace(transport=socket, pauseProducing=lambda: None)
    PipeEnd().makeConnection(outer)
    assert "writeSomeData" in vars(socket)
    PipeEnd().makeConnection(SimpleNamespace(pauseProducing=lambda: None))  # one that writes in another way


class OverTLS(TLSMemoryBIOProtocol):
    """Twisted's TLS as far as a pipe knows it: it gathers what is written until the next turn."""

    def __init__(self, socket):
        self.transport, self.kept, self.closed = socket, b"", False

    def write(self, data):
        self.kept += data
        self.transport.reactor.callLater(0, self.flush)

    def flush(self):
        kept, self.kept = self.kept, b""
        self.transport.write(kept)

    def pauseProducing(self):
        self.transport.pauseProducing()

    def abortConnection(self):
        self.transport.abortConnection()

    def loseConnection(self):
        self.closed = True


def test_what_tls_gathered_goes_out_before_a_reset():
    net = Net()
    socket = Socket(net, PipeEnd())
    tls = OverTLS(socket)
    tls.write(b"last words")
    break_off(tls)
    net.advance(0)
    socket.flush()
    net.advance(0)
    assert socket.sent == b"last words"
    assert socket.end.check(ConnectionAborted)
    assert not net.getDelayedCalls()


def test_tls_has_no_half_to_close_but_says_goodbye():
    tls = OverTLS(Socket(Net(), PipeEnd()))
    end_writing(tls)
    assert tls.closed


def test_end_that_is_slow_pauses_the_other():
    pipe = Joined()
    pipe.right.room = 0
    pipe.left.protocol.dataReceived(b"x" * 100_000)
    assert not pipe.left.reading
    pipe.right.room = 10**9
    pipe.run()
    assert pipe.left.reading


class OnStream:
    """A socket joined to a stream, whose other end is a recorder."""

    def __init__(self):
        self.net = Net()
        self.far = Recorders(HalfCloseRecorder)
        self.pair = SessionPair(agent_factory=self.far, clock=self.net)
        self.end = PipeEnd()
        self.pair.server.open_stream(self.end)
        self.socket = Socket(self.net, PipeEnd())
        self.end.join(self.socket.protocol)
        self.pump()

    def pump(self):
        self.pair.pump()
        self.socket.flush()
        self.pair.pump()

    @property
    def peer(self):
        return self.far.built[0]


def test_socket_that_breaks_breaks_the_stream_behind_what_it_sent():
    on = OnStream()
    on.socket.protocol.dataReceived(b"hello")
    on.socket.connectionLost(Failure(CONNECTION_LOST))
    on.pump()
    assert on.peer.received == b"hello"
    assert on.peer.lost.check(ConnectionLost)


def test_socket_that_ends_ends_the_stream():
    on = OnStream()
    on.socket.protocol.dataReceived(b"hello")
    on.socket.connectionLost(Failure(CONNECTION_DONE))
    on.pump()
    assert on.peer.received == b"hello"
    assert on.peer.read_lost
    assert on.peer.lost is None


def test_stream_that_is_reset_breaks_a_slow_socket_behind_what_came():
    on = OnStream()
    on.socket.room = 0
    data = bytes(range(256)) * 600
    on.peer.transport.write(data)
    on.peer.transport.breakConnection()
    on.pump()
    assert on.socket.end is None
    on.socket.room = 10**9
    for _ in range(10):
        on.pump()
    assert on.socket.sent == data
    assert on.socket.end.check(ConnectionAborted)


def test_pipe_end_outlives_the_peers_half():
    assert IHalfCloseableProtocol.providedBy(PipeEnd())
    PipeEnd().writeConnectionLost()
    PipeEnd().dataReceived(b"to nobody")


def test_a_connection_that_fills_its_buffer_gets_a_larger_one(monkeypatch):
    monkeypatch.setattr(allocator, "_keeps", True)
    net = Net()
    ends = PipeEnd(), PipeEnd()
    sockets = [Socket(net, end) for end in ends]
    ends[0].join(ends[1])
    ends[0].dataReceived(bytes(FileDescriptor.bufferSize - 1))
    assert sockets[0].bufferSize == FileDescriptor.bufferSize
    ends[0].dataReceived(bytes(FileDescriptor.bufferSize))
    assert [socket.bufferSize for socket in sockets] == [allocator.LARGE] * 2  # the other is sent as much


def test_what_a_carrier_brings_at_once_is_written_without_a_pause(monkeypatch):
    """An upstream takes the frames of a message in one turn, though it sends little itself."""
    monkeypatch.setattr(allocator, "_keeps", True)
    net = Net()
    ends = PipeEnd(), PipeEnd()
    stream, _ = (Socket(net, end) for end in ends)
    ends[0].join(ends[1])
    for _ in range(allocator.LARGE // FileDescriptor.bufferSize):
        ends[0].dataReceived(bytes(FileDescriptor.bufferSize))
        assert stream.reading
    ends[0].dataReceived(b"x")
    assert not stream.reading
