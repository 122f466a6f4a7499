"""Tests for L{burrow.reactor}: what ends a turn, and how room is waited for."""

import fcntl
import os
import socket
import struct
import subprocess
import sys
from collections import Counter

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import directlyProvides

from burrow.clock import TurnEnd, at_turn_end
from burrow.mux.pipe import read_on_after_failed_write
from burrow.protocols.loopback import connect_now

if not sys.platform.startswith("linux"):
    pytest.skip("the reactor is for Linux", allow_module_level=True)

from burrow.reactor.epoll import BurrowReactor
from burrow.reactor.turns import TURNS

UNSENT = 0x894B  # SIOCOUTQNSD, see tcp(7)
LOWAT = 16 * 1024
PIECE = 64 * 1024


def turn(reactor):
    reactor.runUntilCurrent()
    reactor.doIteration(0)


class Pair:
    """A connection over the loopback: C{protocol} is its end on a reactor, C{peer} a plain socket."""

    def __init__(self):
        self.reactor = BurrowReactor()
        self.protocol = Protocol()
        factory = Factory()
        factory.buildProtocol = lambda address: self.protocol
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.peer = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.turns(2)

    def turns(self, count):
        for _ in range(count):
            turn(self.reactor)

    def close(self):
        self.peer.close()
        self.reactor.removeAll()


@pytest.fixture
def pair():
    made = Pair()
    yield made
    made.close()


def test_the_writes_of_a_turn_go_out_together_and_at_its_end(pair):
    said = []
    pair.peer.setblocking(False)
    sends = []
    handle = pair.protocol.transport.socket

    class Counted:
        def send(self, data):
            sends.append(bytes(data))
            return handle.send(data)

        def __getattr__(self, name):
            return getattr(handle, name)

    pair.protocol.transport.socket = Counted()
    pair.protocol.dataReceived = said.append
    pair.protocol.transport.write(b"a head, ")
    pair.protocol.transport.write(b"a body")
    with pytest.raises(BlockingIOError):
        pair.peer.recv(100)
    pair.turns(1)
    assert sends == [b"a head, a body"]
    assert pair.peer.recv(100) == b"a head, a body"
    pair.protocol.transport.socket = handle


class Accepting:
    """Plain sockets that connect to a port of a reactor. C{said}: what was read, with the turn's number."""

    def __init__(self, protocol=Protocol):
        self.reactor = BurrowReactor()
        self.said = []
        self.polled = []  # (what is registered or removed, the descriptor)
        self.waited = []  # seconds that each poll may wait, at most
        self.turn = 0
        accepting = self
        poller = self.reactor._poller

        class Polled:
            def register(self, number, mask):
                accepting.polled.append(("register", number))
                poller.register(number, mask)

            def poll(self, timeout, most):
                accepting.waited.append(timeout)
                return poller.poll(0, most)

            def unregister(self, number):
                accepting.polled.append(("unregister", number))
                poller.unregister(number)

            def __getattr__(self, name):
                return getattr(poller, name)

        class Said(protocol):
            def dataReceived(self, data):
                super().dataReceived(data)
                accepting.said.append((accepting.turn, data))

            def connectionLost(self, reason):
                accepting.said.append((accepting.turn, reason.type))

        self.port = self.reactor.listenTCP(0, Factory.forProtocol(Said), 300, interface="127.0.0.1")
        self.address = "127.0.0.1", self.port.getHost().port
        self.reactor._poller = Polled()

    def turns(self, count):
        for _ in range(count):
            self.turn += 1
            turn(self.reactor)


@pytest.fixture
def accepting():
    made = []

    def make(protocol=Protocol):
        made.append(Accepting(protocol))
        return made[-1]

    yield make
    for each in made:
        each.reactor.removeAll()


def test_what_a_peer_sent_when_it_connected_is_read_in_the_turn_that_accepts(accepting):
    one = accepting()
    with socket.create_connection(one.address) as peer:
        peer.sendall(b"first")
        one.turns(1)
        assert one.said == [(1, b"first")]
        peer.sendall(b"later")
        one.turns(1)
        assert one.said == [(1, b"first"), (2, b"later")]
    one.turns(1)
    assert one.said[2:] == [(3, ConnectionDone)]


def test_a_peer_that_says_nothing_at_first_is_read_later(accepting):
    one = accepting()
    with socket.create_connection(one.address) as peer:
        one.turns(1)
        peer.sendall(b"later")
        one.turns(1)
        assert one.said == [(2, b"later")]


@pytest.mark.parametrize("reset", [False, True])
def test_a_peer_that_has_left_before_it_is_accepted(accepting, reset):
    one = accepting()
    peer = socket.create_connection(one.address)
    peer.sendall(b"first")
    if reset:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    one.turns(2)
    assert one.said == [(1, b"first"), (2, ConnectionLost if reset else ConnectionDone)]
    assert len(one.reactor.getReaders()) == len(BurrowReactor().getReaders()) + 1  # the port


def test_a_peer_that_has_closed_and_said_nothing(accepting):
    one = accepting()
    socket.create_connection(one.address).close()
    one.turns(1)
    assert one.said == [(1, ConnectionDone)]


def test_what_a_protocol_greets_with_is_sent_though_its_peer_has_ended(accepting):
    class Greets(Protocol):
        def connectionMade(self):
            self.transport.write(b"hello")

    one = accepting(Greets)
    with socket.create_connection(one.address) as peer:
        peer.shutdown(socket.SHUT_WR)
        one.turns(2)
        assert peer.recv(100) == b"hello"
    assert [what for _, what in one.said] == [ConnectionDone]


def test_what_a_timer_accepts_is_read_in_its_turn(accepting):
    one = accepting()
    one.port.stopReading()
    one.reactor.callLater(0, one.port.doRead)
    with socket.create_connection(one.address) as peer:
        peer.sendall(b"first")
        one.reactor.runUntilCurrent()
        one.reactor.doIteration(60)
        assert (one.said, one.waited) == ([(0, b"first")], [0])


def test_a_reactor_that_has_removed_all_reads_nothing(accepting):
    one = accepting()
    with socket.create_connection(one.address) as peer:
        peer.sendall(b"first")
        one.port.doRead()
        (transport,) = (each for each in one.reactor.getReaders() if hasattr(each, "wanted"))
        assert transport in one.reactor.removeAll()
        one.turns(2)
        assert one.said == []
        transport.abortConnection()
        one.turns(1)


def test_a_port_that_was_closed_in_this_turn_accepts_nothing(accepting):
    class Closes(Protocol):
        def dataReceived(self, data):
            one.port.stopReading()
            one.port.connectionLost(Failure(ConnectionDone()))

    one = accepting(Closes)
    closed, close = [], one.port.connectionLost

    def count_and_close(reason):
        closed.append(reason)
        close(reason)

    one.port.connectionLost = count_and_close
    with socket.create_connection(one.address) as peer:
        one.turns(1)
        peer.sendall(b"close")
        with socket.create_connection(one.address):
            one.turns(1)
    assert len(closed) == 1


def test_a_protocol_that_pauses_at_once_is_not_read_and_costs_no_calls_of_epolls(accepting):
    class Paused(Protocol):
        def connectionMade(self):
            self.transport.pauseProducing()
            one.protocol = self

    one = accepting(Paused)
    with socket.create_connection(one.address) as peer:
        peer.sendall(b"first")
        one.turns(2)
        assert (one.said, one.polled) == ([], [])
        one.protocol.transport.resumeProducing()
        one.turns(1)
        assert one.said == [(3, b"first")]
        one.protocol.transport.pauseProducing()
        peer.sendall(b"later")
        one.turns(1)
        assert one.said == [(3, b"first")]


def test_a_protocol_that_pauses_and_goes_on_in_the_same_turn_is_registered_once(accepting):
    class Joined(Protocol):
        def connectionMade(self):
            self.transport.pauseProducing()
            self.transport.resumeProducing()

    one = accepting(Joined)
    with socket.create_connection(one.address) as peer:
        peer.sendall(b"first")
        one.turns(1)
        assert one.said == [(1, b"first")]
        assert [kind for kind, _ in one.polled] == ["register"]


@pytest.mark.parametrize(
    ("ending", "reason"), [("abortConnection", ConnectionAborted), ("loseConnection", ConnectionDone)]
)
def test_a_protocol_that_ends_its_connection_at_once_reads_nothing(accepting, ending, reason):
    class Refuses(Protocol):
        def connectionMade(self):
            getattr(self.transport, ending)()

    one = accepting(Refuses)
    with socket.create_connection(one.address) as peer:
        peer.sendall(b"first")
        one.turns(2)
        assert [what for _, what in one.said] == [reason]


def test_a_protocol_that_fails_at_what_is_read_first_loses_its_connection_alone(accepting):
    class Fails(Protocol):
        def dataReceived(self, data):
            if data == b"bad":
                raise ValueError(data)

    one = accepting(Fails)
    failing, other = (socket.create_connection(one.address) for _ in range(2))
    with failing, other:
        failing.sendall(b"bad")
        other.sendall(b"good")
        one.turns(2)
        assert sorted(one.said, key=str) == [(1, ConnectionLost), (1, b"good")]


@pytest.mark.parametrize(("count", "most"), [(4, 4), (20, 8), (40, 9), (200, 41)])
def test_a_turn_takes_a_part_of_what_is_ready_and_the_next_ones_the_rest_in_turn(accepting, count, most):
    """A fifth, and 8 at least; there are three descriptors more, of the port and of Twisted."""
    one = accepting()
    peers = [socket.create_connection(one.address) for _ in range(count)]
    one.turns(count)
    one.turn = 0
    for number in range(3):  # nobody is left out while others go on sending
        for peer in peers:
            peer.sendall(b"%d" % number)
        one.turns(count)
    assert b"".join(data for _, data in one.said).count(b"2") == count
    assert max(Counter(turn for turn, _ in one.said).values()) == most
    for peer in peers:
        peer.close()


def test_one_that_always_has_something_keeps_nobody_waiting(accepting):
    """The kernel reports those first that it has not reported."""
    one = accepting()
    peers = [socket.create_connection(one.address) for _ in range(20)]
    one.turns(5)
    for peer in peers[:10]:
        peer.sendall(bytes(256 * 1024))  # four times what is read at a time
    one.turns(1)
    for peer in peers[10:]:
        peer.sendall(b"a")
    one.turns(TURNS)
    assert sum(data == b"a" for _, data in one.said) == 10
    for peer in peers:
        peer.close()


def test_all_that_is_ready_is_served_in_so_many_turns_though_fewer_and_fewer_are_open(accepting):
    one = accepting()
    peers = [socket.create_connection(one.address) for _ in range(200)]
    one.turns(len(peers))
    for peer in peers:
        peer.close()
    one.turns(TURNS)
    assert [what for _, what in one.said] == [ConnectionDone] * len(peers)


def test_a_turn_takes_no_more_than_its_part_once_nothing_was_left(accepting):
    one = accepting()
    peers = [socket.create_connection(one.address) for _ in range(200)]
    one.turns(len(peers))
    for peer in peers[:100]:
        peer.close()
    one.turns(TURNS)
    one.turn = 0
    one.said.clear()
    for peer in peers[100:]:
        peer.sendall(b"a")
    one.turns(TURNS)
    open_now = len(one.reactor.getReaders())
    assert max(Counter(turn for turn, _ in one.said).values()) == -(-open_now // TURNS)
    for peer in peers:
        peer.close()


def test_what_has_ended_is_told_before_what_came_after_it_is_accepted(accepting):
    """Who has so many connections, closes them and makes others has no more: see server/counting.py."""
    events = []

    class Told(Protocol):
        def connectionMade(self):
            events.append("made")

    one = accepting(Told)
    one.said = events
    peer = socket.create_connection(one.address)
    peer.sendall(b"first")  # answered in the turn that accepts: the kernel has not looked at the port again
    one.turns(1)
    peer.close()
    with socket.create_connection(one.address):
        one.turns(1)
    assert events == ["made", (1, b"first"), (2, ConnectionDone), "made"]


@pytest.mark.parametrize("paused", [False, True])
def test_what_is_accepted_while_the_reactor_stops_is_lost_and_not_read(accepting, paused):
    """As every connection that is registered. A service that stops accepts those that wait."""

    class MaybePaused(Protocol):
        def connectionMade(self):
            made.append(self)
            if paused:
                self.transport.pauseProducing()

    made = []
    one = accepting(MaybePaused)
    reactor = one.reactor
    one.port.stopReading()
    reactor.addSystemEventTrigger("before", "shutdown", one.port.doRead)
    with socket.create_connection(one.address) as peer:
        peer.sendall(b"first")
        reactor.callLater(0, reactor.stop)
        reactor.run(installSignalHandlers=False)
        assert len(made) == 1
        assert [what for _, what in one.said] == ([] if paused else [ConnectionLost])
        for each in made:
            each.transport.abortConnection()


def test_what_the_kernel_does_not_take_follows(pair):
    whole = os.urandom(1 << 20) * 32
    pair.protocol.transport.write(whole)
    pair.peer.setblocking(False)
    got = bytearray()
    while len(got) < len(whole):
        pair.turns(1)
        try:
            got += pair.peer.recv(1 << 20)
        except BlockingIOError:
            pass
    assert got == whole
    assert not pair.reactor.getWriters()


def test_what_has_come_is_read_before_a_write_fails(pair):
    """A peer that answers, and closes with something unread, has answered (RFC 9112 section 9.6)."""
    got = []
    pair.protocol.dataReceived = got.append
    pair.protocol.connectionLost = got.append
    pair.protocol.transport.pauseProducing()
    pair.protocol.transport.write(b"a question")
    pair.turns(1)
    pair.peer.sendall(b"an answer")
    pair.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.peer.close()  # a reset follows, but first the answer
    pair.protocol.transport.resumeProducing()
    pair.protocol.transport.write(b"more")
    pair.turns(3)
    assert got[0] == b"an answer"
    assert got[1].check(ConnectionLost)  # and is not taken for one that ended
    assert len(got) == 2


@pytest.mark.parametrize("room_below", [None, LOWAT])
def test_a_pull_producer_is_asked_when_little_is_unsent(pair, room_below):
    transport = pair.protocol.transport
    transport.room_below = room_below
    transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, LOWAT)
    unsent = []

    class Producer:
        def resumeProducing(self):
            answer = fcntl.ioctl(transport.socket.fileno(), UNSENT, b"\0" * 4)
            unsent.append(struct.unpack("i", answer)[0])
            transport.write(b"x" * PIECE)

        def stopProducing(self):
            pass

    transport.registerProducer(Producer(), False)
    for _ in range(30):
        pair.turns(3)
        pair.peer.recv(PIECE)
    assert len(unsent) > 5
    assert max(unsent) <= LOWAT
    pair.turns(1000)
    before = len(unsent)
    pair.turns(50)
    assert len(unsent) == before  # it is full, and nobody is asked in vain
    assert pair.reactor.getWriters() == [transport]


def test_room_is_asked_for_without_epoll(pair):
    transport, asked = pair.protocol.transport, []
    polls = []
    modify, register = pair.reactor._poller.modify, pair.reactor._poller.register

    class Poller:
        def modify(self, *arguments):
            polls.append(arguments)
            modify(*arguments)

        def register(self, *arguments):
            polls.append(arguments)
            register(*arguments)

        def __getattr__(self, name):
            return getattr(poller, name)

    class Producer:
        def resumeProducing(self):
            asked.append(True)

        def stopProducing(self):
            pass

    poller, pair.reactor._poller = pair.reactor._poller, Poller()
    transport.registerProducer(Producer(), False)
    pair.turns(2)
    transport.room_below = LOWAT
    for _ in range(3):
        asked.clear()
        polls.clear()
        transport.write(b"a message")
        pair.turns(1)
        assert len(asked) == 1
        pair.turns(2)
        assert len(asked) == 1
        assert polls == []
        assert pair.peer.recv(100) == b"a message"


def test_what_tls_gathers_goes_out_with_the_turn(pair):
    def flush():
        clock.callLater(0, lambda: pair.protocol.transport.write(b"gathered"))  # as a session's flush does

    clock = TurnEnd(pair.reactor)
    pair.reactor.call_at_turn_end(flush)
    clock.callLater(0, lambda: pair.protocol.transport.write(b"never")).cancel()
    pair.turns(1)
    assert pair.peer.recv(100) == b"gathered"
    clock.callLater(5, lambda: None).cancel()
    assert pair.reactor.getDelayedCalls() == []


def test_calls_that_ask_for_more_do_not_keep_a_turn_from_ending(pair):
    def again():
        calls.append(True)
        pair.reactor.call_at_turn_end(again)

    calls = []
    pair.reactor.call_at_turn_end(again)
    pair.turns(1)
    assert 1 <= len(calls) <= 4


def test_calls_at_the_end_of_a_turn_come_before_its_bytes_go(pair):
    pair.reactor.call_at_turn_end(lambda: pair.protocol.transport.write(b"now"))
    pair.turns(1)
    assert pair.peer.recv(10) == b"now"


def test_a_call_that_fails_spoils_no_other(pair, capsys):
    pair.reactor.call_at_turn_end(lambda: 1 / 0)
    pair.reactor.call_at_turn_end(lambda: pair.protocol.transport.write(b"all the same"))
    pair.turns(1)
    assert pair.peer.recv(20) == b"all the same"


def test_a_protocol_that_fails_loses_its_own_connection_alone(pair):
    other = Protocol()
    got = []
    other.dataReceived = got.append
    factory = Factory()
    factory.buildProtocol = lambda address: other
    port = pair.reactor.listenTCP(0, factory, interface="127.0.0.1")
    second = socket.create_connection(("127.0.0.1", port.getHost().port))
    pair.turns(2)
    pair.protocol.dataReceived = lambda data: 1 / 0
    pair.peer.sendall(b"x")
    second.sendall(b"y")
    pair.turns(2)
    assert got == [b"y"]
    assert pair.protocol.transport.disconnected
    assert not other.transport.disconnected
    second.close()


def test_a_protocol_that_fails_at_its_end_keeps_nobody_from_sending(pair):
    """Its connection is closed in the same turn in which another one writes."""
    other = Protocol()
    factory = Factory()
    factory.buildProtocol = lambda address: other
    port = pair.reactor.listenTCP(0, factory, interface="127.0.0.1")
    second = socket.create_connection(("127.0.0.1", port.getHost().port))
    pair.turns(2)
    pair.protocol.connectionLost = lambda reason: 1 / 0
    pair.protocol.transport.loseConnection()
    other.transport.write(b"for the other")
    pair.turns(2)
    second.settimeout(5)
    assert second.recv(100) == b"for the other"
    second.close()


@pytest.mark.parametrize("waiting", [0, 20 << 20])
@pytest.mark.parametrize("reads_on", [False, True])
def test_a_reset_is_no_end_whoever_meets_it_first(pair, waiting, reads_on):
    """
    The peer answers and resets, while much waits to be sent, or our half is to be closed; also where a failed
    write ends no reading, as of a pipe.
    """
    got = []
    if reads_on:
        pair.protocol.ended = False
        pair.protocol.reads_after_failed_write = True
        read_on_after_failed_write(pair.protocol)
    pair.protocol.dataReceived = got.append
    pair.protocol.connectionLost = got.append
    directlyProvides(pair.protocol, IHalfCloseableProtocol)
    pair.protocol.readConnectionLost = lambda: got.append("the end")
    pair.protocol.writeConnectionLost = lambda: None
    pair.protocol.transport.pauseProducing()
    pair.protocol.transport.write(bytes(waiting) or b"a question")
    pair.turns(2)
    pair.peer.sendall(b"an answer")
    pair.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.peer.close()
    pair.protocol.transport.loseWriteConnection()
    pair.protocol.transport.resumeProducing()
    pair.turns(5)
    assert got[0] == b"an answer"
    assert got[1].check(ConnectionLost)
    assert len(got) == 2


def test_what_is_accepted_is_set_as_its_port_is(pair):
    transport = pair.protocol.transport
    assert transport.getTcpNoDelay()
    assert transport.getTcpKeepAlive()
    transport.setTcpNoDelay(False)
    transport.setTcpKeepAlive(False)
    assert not transport.getTcpNoDelay()
    assert not transport.getTcpKeepAlive()
    transport.setTcpNoDelay(True)
    assert transport.getTcpNoDelay()


def test_an_adopted_port_sets_its_socket():
    reactor = BurrowReactor()
    made = Protocol()
    factory = Factory()
    factory.buildProtocol = lambda address: made
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        reactor.adoptStreamPort(listening.fileno(), socket.AF_INET, factory)
        with socket.create_connection(listening.getsockname()):
            reactor.doIteration(1)
            assert made.transport.getTcpNoDelay()
            assert made.transport.getTcpKeepAlive()
    reactor.removeAll()


def test_an_upstream_is_dialled_within_the_turn_on_one_descriptor(pair):
    got = []
    end = Protocol()
    end.dataReceived = got.append
    factory = Factory()
    factory.buildProtocol = lambda address: end
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.getsockname()[1]
        before = len(os.listdir("/proc/self/fd"))
        assert connect_now(pair.reactor, "127.0.0.1", number, factory) is end
        assert len(os.listdir("/proc/self/fd")) == before + 1
        assert end.transport.getPeer() == IPv4Address("TCP", "127.0.0.1", number)
        assert end.transport.getTcpNoDelay()
        accepted, _ = listening.accept()
        end.transport.write(b"a question")
        accepted.sendall(b"an answer")
        pair.turns(2)
        assert accepted.recv(100) == b"a question"
        assert got == [b"an answer"]
        accepted.close()
    before = len(os.listdir("/proc/self/fd"))
    assert connect_now(pair.reactor, "127.0.0.1", number, factory) is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_another_clock_has_its_own_way():
    clock, done = Clock(), []
    at_turn_end(clock)(lambda: done.append(True))
    assert not done
    clock.advance(0)
    assert done
    TurnEnd(clock).callLater(0, lambda: done.append("gathered"))
    clock.advance(0)
    assert done[1:] == ["gathered"]


def test_twistd_has_it_by_name():
    text = "from twisted.internet import reactor; print(type(reactor).__name__)"
    code = f"from twisted.application.reactors import installReactor; installReactor('burrow'); {text}"
    assert subprocess.check_output([sys.executable, "-c", code]).strip() == b"BurrowReactor"


def test_it_takes_the_place_of_no_other_reactor():
    text = "from twisted.internet import reactor as first; from burrow.reactor import install; install(); "
    text += "from twisted.internet import reactor; assert reactor is first"
    subprocess.check_call([sys.executable, "-c", text])


def test_what_icmp_tells_a_datagram_port_is_read_and_closes_nothing():
    """Nothing listens where it sends, which the kernel tells by EPOLLERR alone."""
    reactor = BurrowReactor()
    refused, stopped = [], []
    protocol = DatagramProtocol()
    protocol.connectionRefused = lambda: refused.append(True)
    protocol.stopProtocol = lambda: stopped.append(True)
    try:
        port = reactor.listenUDP(0, protocol, interface="127.0.0.1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
            nobody.bind(("127.0.0.1", 0))
            protocol.transport.connect(*nobody.getsockname())
        for number in range(1, 4):
            protocol.transport.write(b"lost")
            reactor.doIteration(0)
            assert (len(refused), stopped) == (number, [])
        port.stopListening()
    finally:
        reactor.removeAll()
        reactor.runUntilCurrent()
