"""Tests for L{burrow.server.listening}: sockets that are opened, shared, inherited and kept."""

import errno
import os
import socket

from twisted.internet import reactor
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from burrow.addresses import ListenAddress
from burrow.errors import ConfigError
from burrow.server import listening
from burrow.server.listening import Listeners, TcpSockets, open_sockets
from burrow.server.port_closing import stop_listening
from tests.e2e.harness import free_port


class Exhausted:
    """A socket that listens, in a process where no descriptor is left for a while."""

    def __init__(self, handle):
        self.handle = handle
        self.asked = 0
        self.number = errno.EMFILE

    def __getattr__(self, name):
        return getattr(self.handle, name)

    def accept(self):
        self.asked += 1
        if self.number:
            raise OSError(self.number, os.strerror(self.number))
        return self.handle.accept()


FACTORY = Factory.forProtocol(Protocol)


class Sockets(TestCase):
    def setUp(self):
        self.port = free_port()
        self.sockets = TcpSockets(reactor)

    def listen(self, sockets=None, interface="127.0.0.1", *, shared=False):
        opened = (sockets or self.sockets).listen(self.port, FACTORY, interface, shared=shared)
        self.addCleanup(stop_listening, opened)
        return opened

    def connects(self, host="127.0.0.1"):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            return probe.connect_ex((host, self.port)) == 0

    def test_port_of_another_program_is_in_use(self):
        with socket.create_server(("127.0.0.1", self.port)):
            with self.assertRaises(CannotListenError):
                self.listen()
            with self.assertRaises(CannotListenError):
                self.listen(shared=True)

    def test_port_is_shared_only_with_who_may(self):
        self.listen()
        other = TcpSockets(reactor)
        with self.assertRaises(CannotListenError):
            self.listen(other)
        self.listen(other, shared=True)

    def test_all_interfaces(self):
        self.listen(interface="")
        self.assertTrue(self.connects())
        self.assertTrue(self.connects("::1"))

    def test_machine_without_ipv6(self):
        real = listening._open

        def without(host, port, *, share):
            if ":" in host:
                raise OSError(errno.EADDRNOTAVAIL, "no IPv6 here")
            return real(host, port, share=share)

        self.patch(listening, "_open", without)
        self.listen(interface="")
        self.assertTrue(self.connects())

    def test_port_that_cannot_be_served_is_nobodys(self):
        told = []
        self.patch(listening, "adopt", self.no_descriptor)
        self.patch(self.sockets, "closed", told.append)
        with self.assertRaises(CannotListenError) as caught:
            self.listen()
        self.assertEqual(caught.exception.socketError.errno, errno.EMFILE)
        self.assertEqual(told, [self.port])
        with self.assertRaisesRegex(ConfigError, "oo many open files"):
            Listeners(reactor, {}).listen("https", ListenAddress("127.0.0.1", free_port()), FACTORY)

    @staticmethod
    def no_descriptor(reactor, handle, factory):
        handle.close()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def exhausted_port(self):
        """A port with a waiting connection, and no descriptor left for it."""
        opened = self.listen()
        exhausted = opened.socket._socket = Exhausted(opened.socket._socket)
        self.assertTrue(self.connects())
        while not exhausted.asked:
            await deferLater(reactor, 0.001)
        return opened, exhausted

    async def test_port_without_a_descriptor_waits_and_goes_on(self):
        self.patch(listening, "ACCEPT_AGAIN", 0.02)
        opened, exhausted = await self.exhausted_port()
        self.assertNotIn(opened, reactor.getReaders())
        for again in range(2, 5):
            while exhausted.asked < again:
                await deferLater(reactor, 0.001)
            self.assertNotIn(opened, reactor.getReaders())
        for number in (errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, 0):
            exhausted.number = number
            asked = exhausted.asked
            while exhausted.asked == asked:
                await deferLater(reactor, 0.001)
        self.assertIn(opened, reactor.getReaders())

    async def test_port_that_waits_can_be_closed(self):
        self.patch(listening, "ACCEPT_AGAIN", 3600)
        opened, _ = await self.exhausted_port()
        await stop_listening(opened)  # trial would find the delayed call
        self.assertFalse(self.connects())

    async def test_keeper_gets_a_copy_that_outlives_us_and_a_successor_has_it(self):
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(far.close)
        sockets = TcpSockets(reactor, keeper=near)
        self.addCleanup(near.close)
        first = sockets.listen(self.port, FACTORY, "127.0.0.1", shared=False)
        data, handles, _, _ = socket.recv_fds(far, 100, 1)
        self.assertEqual(data, str(self.port).encode())
        await stop_listening(first)
        self.assertTrue(self.connects())  # waits in the queue
        self.listen(TcpSockets(reactor, {self.port: handles[0]}))
        self.assertTrue(self.connects())
        sockets.closed(self.port)
        self.assertEqual(socket.recv_fds(far, 100, 1)[:2], (data, []))

    def test_what_was_inherited_and_is_nobodys_is_closed(self):
        handle = socket.create_server(("127.0.0.1", self.port))
        sockets = TcpSockets(reactor, {self.port: os.dup(handle.fileno())})
        handle.close()
        self.assertTrue(self.connects())
        sockets.close_unused()
        self.assertFalse(self.connects())

    async def test_main_ports_are_inherited_or_opened(self):
        inherited = open_sockets(ListenAddress("127.0.0.1", self.port), "--https")
        listeners = Listeners(reactor, {"https": [one.detach() for one in inherited]})
        self.assertEqual(listeners.listen("https", ListenAddress("127.0.0.1", 1), FACTORY), self.port)
        number = listeners.listen("http", ListenAddress("127.0.0.1", 0), FACTORY)
        self.assertNotEqual(number, self.port)
        with self.assertRaisesRegex(ConfigError, "--http HOST:PORT"):
            listeners.listen("http", ListenAddress("127.0.0.1", number), FACTORY)
        await listeners.close()
        self.assertFalse(self.connects())
