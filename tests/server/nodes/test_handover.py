"""Tests for L{burrow.server.nodes.handover}: sockets that go to another process (here the same)."""

import errno
import os
import socket

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from burrow.server.nodes import handover
from burrow.server.nodes.handover import MAX_READ, Door, Handover


class Echo(Protocol):
    """The other process's: says what it was told, behind its own name."""

    def dataReceived(self, data):
        self.transport.write(b"other:" + data)


class First(Protocol):
    """Where the visitor came in: hands over at its first bytes, or answers where that is not possible."""

    def __init__(self, test):
        self.test = test
        self.lost = Deferred()

    def dataReceived(self, data):
        self.transport.pauseProducing()
        if self.test.ways.hand(self.test.door.name, "tcp", 4000, self.transport, data):
            self.test.handed.append(self)
        else:
            self.transport.resumeProducing()
            self.transport.write(b"first:" + data)

    def connectionLost(self, reason):
        self.lost.callback(None)


class Visitor(Protocol):
    def __init__(self):
        self.data = b""
        self.wanted = None
        self.lost = False

    def says(self, length):
        """Fires with the first C{length} bytes of what it is told."""
        fires = Deferred()
        self.wanted = length, fires
        self.dataReceived(b"")
        return fires

    def dataReceived(self, data):
        self.data += data
        if self.wanted is not None and len(self.data) >= self.wanted[0]:
            (length, fires), self.wanted = self.wanted, None
            said, self.data = self.data[:length], self.data[length:]
            fires.callback(said)

    def connectionLost(self, reason):
        self.lost = True


class Changing(TestCase):
    timeout = 20

    def setUp(self):
        self.taken, self.handed = [], []
        self.door = Door(reactor, self.take)
        self.ways = Handover()
        factory = Factory()
        factory.buildProtocol = lambda address: First(self)
        self.listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(lambda: deferLater(reactor, 0.05))  # sockets say good-bye
        self.addCleanup(self.listening.stopListening)
        self.addCleanup(self.ways.forget)
        self.addCleanup(self.door.close)

    def take(self, at, port, handle, data, peer):
        factory = Factory.forProtocol(Echo)
        transport = reactor.adoptStreamConnection(handle.fileno(), handle.family, factory)
        self.addCleanup(transport.abortConnection)
        self.taken.append((at, port, transport.getPeer().port, len(data)))
        transport.protocol.dataReceived(data)

    async def visit(self):
        factory = Factory.forProtocol(Visitor)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.listening.getHost().port)
        visitor = await endpoint.connect(factory)
        self.addCleanup(visitor.transport.abortConnection)
        return visitor

    async def test_a_connection_goes_on_in_the_other_process(self):
        visitors = [await self.visit() for _ in range(50)]
        for visitor in visitors:
            visitor.transport.write(b"hello")
        for visitor in visitors:
            self.assertEqual(await visitor.says(11), b"other:hello")
            visitor.transport.write(b"again")
            self.assertEqual(await visitor.says(11), b"other:again")
        for first in self.handed:
            await first.lost  # here nothing is left of it
        ports = {visitor.transport.getHost().port for visitor in visitors}
        self.assertEqual(sorted(self.taken), [("tcp", 4000, port, 5) for port in sorted(ports)])

    async def test_many_bytes_that_were_read(self):
        receive = First.dataReceived
        for size, name in ((MAX_READ, b"other:"), (MAX_READ + 1, b"first:")):
            visitor = await self.visit()
            data = os.urandom(size)
            self.patch(First, "dataReceived", self.gather(receive, size))
            visitor.transport.write(data)
            self.assertEqual(await visitor.says(6 + size), name + data)

    @staticmethod
    def gather(receive, size):
        """Has a visitor's bytes come as one, as an edge does that reads a whole head first."""
        kept = []

        def received(self, data):
            kept.append(data)
            if sum(map(len, kept)) == size:
                receive(self, b"".join(kept))

        return received

    async def test_a_door_that_is_closed(self):
        self.door.close()
        visitor = await self.visit()
        visitor.transport.write(b"hello")
        self.assertEqual(await visitor.says(11), b"first:hello")

    async def test_a_door_that_closes_later(self):
        visitor = await self.visit()
        visitor.transport.write(b"hello")
        await visitor.says(11)
        self.door.close()
        other = await self.visit()
        other.transport.write(b"hello")
        self.assertEqual(await other.says(11), b"first:hello")
        visitor.transport.write(b"again")
        self.assertEqual(await visitor.says(11), b"other:again")

    async def test_what_was_handed_over_before_the_door_closed_is_taken(self):
        """By two processes, one of which it has not let in yet, and more than it takes in one turn."""
        count = 2 * handover.MAX_AT_ONCE + 3
        others, first = Handover(), self.ways
        reactor.removeReader(self.door)  # it is busy
        visitors = []
        for number in range(2 * count):
            self.ways = others if number % 2 else first
            visitors.append(await self.visit())
            visitors[-1].transport.write(b"hello")
            while len(self.handed) < len(visitors):
                await deferLater(reactor, 0)
        reactor.addReader(self.door)
        self.door.close()
        self.assertEqual(len(self.taken), 2 * count)
        for visitor in visitors:
            self.assertEqual(await visitor.says(11), b"other:hello")
        others.forget()

    async def test_no_descriptor_is_left_where_the_visitor_came_in(self):
        """The connection stays here, and no other process has it."""
        make = socket.socket

        def none(family=-1, *given, **more):
            if family == socket.AF_INET:
                raise OSError(errno.EMFILE, "Too many open files")
            return make(family, *given, **more)

        visitor = await self.visit()
        self.patch(handover.socket, "socket", none)
        visitor.transport.write(b"hello")
        said = visitor.says(11)
        self.assertEqual(await said, b"first:hello")
        self.assertEqual(self.taken, [])

    async def test_visitor_that_has_reset_its_connection(self):
        """It is gone; the log has no traceback, and the next one is taken."""
        take, calls = self.door._take, []

        def gone_at_first(*given):
            calls.append(given)
            if len(calls) == 1:
                raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
            take(*given)

        self.door._take = gone_at_first
        way = self.ways._open(self.door.name)
        with capturedLogs() as logs:
            with socket.socket() as sent:
                socket.send_fds(way, [b'{"at": "https", "port": null}\n'], [sent.fileno()])
            while not any("cannot take a visitor" in log["log_format"] for log in logs):
                await deferLater(reactor, 0.01)
        self.assertEqual(self.flushLoggedErrors(), [])
        await self.test_a_connection_goes_on_in_the_other_process()

    async def test_where_few_descriptors_are_left_visitors_wait(self):
        self.patch(handover, "ACCEPT_AGAIN", 0.05)
        few = [True]
        self.patch(handover, "exhausted", lambda count: few[0])
        visitor = await self.visit()
        visitor.transport.write(b"hello")
        while not self.handed:
            await deferLater(reactor, 0)
        await deferLater(reactor, 0.02)
        self.assertEqual(self.taken, [])
        few[0] = False
        self.assertEqual(await visitor.says(11), b"other:hello")

    async def test_no_descriptor_is_left_for_the_way_to_the_other_process(self):
        def none(family=-1, *given, **more):
            if family == socket.AF_UNIX:
                raise OSError(errno.EMFILE, "Too many open files")
            return make(family, *given, **more)

        make = socket.socket
        visitor = await self.visit()
        self.patch(handover.socket, "socket", none)
        visitor.transport.write(b"hello")
        self.assertEqual(await visitor.says(11), b"first:hello")

    async def test_a_queue_that_is_full(self):
        reactor.removeReader(self.door)
        visitors = []
        while len(visitors) - len(self.handed) < 3:
            visitors.append(await self.visit())
            visitors[-1].transport.write(b"x" * 60_000)
            while len(self.handed) < len(visitors) and not visitors[-1].data:
                await deferLater(reactor, 0)
        stayed = [visitor for visitor in visitors if visitor.data]
        for visitor in stayed:
            self.assertTrue((await visitor.says(7)).startswith(b"first:x"))
        reactor.addReader(self.door)
        for visitor in visitors:
            if visitor not in stayed:
                self.assertTrue((await visitor.says(7)).startswith(b"other:x"))

    async def test_another_user_is_turned_away(self):
        self.patch(handover.os, "getuid", lambda: 12345)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as way:
            way.connect("\0" + self.door.name)
            way.setblocking(False)
            while True:
                try:
                    self.assertEqual(way.recv(100), b"")
                    break
                except BlockingIOError:
                    await deferLater(reactor, 0.01)

    async def test_messages_that_are_none(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as way:
            way.connect("\0" + self.door.name)
            way.send(b"no descriptor")
            for message in (b"no JSON\n", b'{"at": "tcp"}\n', b"[]\n"):
                with socket.socket() as sent:
                    socket.send_fds(way, [message], [sent.fileno()])
            told = []
            while len(told) < 3:
                told += self.flushLoggedErrors()
                await deferLater(reactor, 0.01)
        await self.test_a_connection_goes_on_in_the_other_process()

    async def test_no_descriptor_is_left(self):
        """The door waits, and is not asked in a loop; then it takes who came."""
        accept, calls = self.door._handle.accept, []

        class Handle:
            fileno = self.door._handle.fileno
            close = self.door._handle.close
            shutdown = self.door._handle.shutdown

            def accept(_):
                calls.append(None)
                if len(calls) == 1:
                    raise OSError(errno.EMFILE, "Too many open files")
                return accept()

        self.door._handle = Handle()
        self.patch(handover, "ACCEPT_AGAIN", 0.05)
        visitor = await self.visit()
        visitor.transport.write(b"hello")
        self.assertEqual(await visitor.says(11), b"other:hello")
        self.assertEqual(len(calls), 2)
