"""Tests for L{burrow.server.port_closing}: who connects while a port closes."""

import select
import socket
import sys

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from burrow.addresses import ListenAddress
from burrow.server.listening import Listeners, open_sockets
from burrow.server.port_closing import drop_new_connections, stop_listening
from tests.e2e.harness import free_port

LINUX = sys.platform.startswith("linux")


class Counting(Factory):
    """Counts the connections that were accepted; while it makes the first one, another visitor connects."""

    protocol = Protocol

    def __init__(self):
        self.accepted = 0
        self.meanwhile = []

    def buildProtocol(self, addr):
        self.accepted += 1
        if self.meanwhile:
            self.meanwhile.pop()()
        return super().buildProtocol(addr)


class Closing(TestCase):
    def setUp(self):
        self.address = ("127.0.0.1", free_port())
        self.factory = Counting()
        self.listeners = Listeners(reactor, {})
        self.visitors = []
        self.addCleanup(self.leave)

    def leave(self):
        for visitor in self.visitors:
            visitor.close()

    def listen(self, listeners=None):
        (listeners or self.listeners).listen("https", ListenAddress(*self.address), self.factory)

    def connect(self):
        """Connect. @return: whether the handshake was complete at once, as it is on this machine."""
        visitor = socket.socket()
        self.visitors.append(visitor)
        visitor.setblocking(False)
        visitor.connect_ex(self.address)
        return bool(select.select([], [visitor], [], 0)[1])

    def was_reset(self):
        """@return: whether any visitor's connection was."""
        for visitor in self.visitors:
            try:
                visitor.recv(1)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                return True
        return False

    async def close(self, **how):
        await self.listeners.close(**how)
        self.assertFalse(self.was_reset())

    async def test_who_waits_is_accepted(self):
        self.listen()
        for _ in range(30):
            self.assertTrue(self.connect())
        await self.close()
        self.assertEqual(self.factory.accepted, 30)

    async def test_who_comes_while_others_are_accepted_is_accepted(self):
        self.listen()
        self.factory.meanwhile = [self.connect] * 10
        self.connect()
        await self.close()
        self.assertEqual(self.factory.accepted, 11)

    async def test_nobody_comes_between_the_last_accept_and_the_close(self):
        """The port is closed when stop_listening() has accepted, not a turn of the reactor later."""
        self.listen()
        (port,) = self.listeners._listening
        stopping = stop_listening(port)
        with self.assertRaises(StopIteration):
            stopping.send(None)
        self.assertEqual(port.fileno(), -1)

    async def test_last_process_drops_new_connections_first(self):
        self.listen()
        self.connect()
        closing = self.listeners.close(for_good=True)
        deferred = closing.send(None)
        if LINUX:
            self.assertFalse(self.connect())
        await deferred
        with self.assertRaises(StopIteration):
            closing.send(None)
        self.assertEqual(self.factory.accepted, 1)
        self.assertFalse(self.was_reset())

    async def test_inherited_port_is_left_to_its_parent(self):
        (handle,) = open_sockets(ListenAddress(*self.address), "--https")
        self.addCleanup(handle.close)
        inherited = Listeners(reactor, {"https": [handle.dup().detach()]})
        self.listen(inherited)
        await inherited.close(for_good=True)
        self.assertTrue(self.connect())

    async def test_dropping_leaves_accepted_connections_alone(self):
        with socket.create_server(self.address) as handle:
            self.assertTrue(self.connect())
            drop_new_connections(handle)
            with handle.accept()[0] as peer:
                peer.sendall(b"hello")
                self.visitors[0].setblocking(True)
                self.assertEqual(self.visitors[0].recv(5), b"hello")
            self.assertEqual(self.connect(), not LINUX)
