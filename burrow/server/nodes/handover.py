"""
Hands visitors' connections to another process on this machine.

The processes of one C{burrow server} share their listening sockets, so any of them may accept a visitor whose
tunnel's session another process has. Before TLS has begun and any byte was written, the process can send the
socket there, by SCM_RIGHTS (unix(7)), with the bytes that it has read. Then no byte is relayed.

Each process has a door: a Unix socket of type SOCK_SEQPACKET in Linux's abstract namespace. Other processes
find its name in the process's L{Node<burrow.server.nodes.records.Node>}. Each message is one connection::

    {"at": "https", "http" or "tcp", "port": the tunnel's TCP port or null} newline, the bytes read so far

If the system has no such sockets, or a door's queue is full, the visitor's bytes are relayed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import socket
import struct
import sys
from collections.abc import Callable, Collection
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from burrow.clock import cancel
from burrow.descriptors import EXHAUSTED, Shortage, exhausted
from burrow.server.listening import ACCEPT_AGAIN

MAX_READ = 128 * 1024
"""A connection from which more bytes were read is not handed over."""

MAX_AT_ONCE = 32
"""Connections that are received in one turn of the reactor, at most."""

_BACKLOG = 16
_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid

Take = Callable[[str, "int | None", socket.socket, bytes, "list[Any] | None"], None]
"""
Takes a connection: the kind of port that the visitor came to ("https", "http" or "tcp"), the port of a TCP
tunnel or None, the socket, the bytes that were read from it, and the visitor's host and port if a balancer
told them, else None.
"""


def possible() -> bool:
    """Whether this system has the sockets that a door needs."""
    return sys.platform.startswith("linux") and hasattr(socket, "SOCK_SEQPACKET")


@implementer(IReadDescriptor)
class _Readable:
    """Base class: a socket that the reactor reads."""

    log = Logger()

    def __init__(self, reactor: Any, handle: socket.socket) -> None:
        self._reactor = reactor
        self._handle = handle
        handle.setblocking(False)
        reactor.addReader(self)

    def logPrefix(self) -> str:
        """For the reactor's own messages."""
        return "handover"

    def fileno(self) -> int:
        """See L{IReadDescriptor}."""
        return self._handle.fileno()

    def doRead(self) -> None:
        """See L{IReadDescriptor}."""
        raise NotImplementedError

    def connectionLost(self, reason: object) -> None:
        """The reactor stops, or C{doRead} failed."""
        self.close()

    def close(self) -> None:
        """Close the socket."""
        if self._handle.fileno() >= 0:
            self._reactor.removeReader(self)
            self._handle.close()


class Door(_Readable):
    """
    The socket where other processes of this server hand over connections. It refuses processes of other
    users.

    @ivar name: its address, for other processes. @param take: called with each connection.
    """

    def __init__(self, reactor: Any, take: Take) -> None:
        self.name = f"burrow-{secrets.token_hex(16)}"
        self._take = take
        self._peers: set[_Peer] = set()
        self._again: IDelayedCall | None = None
        handle = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        handle.bind("\0" + self.name)
        handle.listen(_BACKLOG)
        super().__init__(reactor, handle)

    def doRead(self) -> None:
        """Another process connects."""
        self._accept_one()

    def _accept_one(self) -> bool:
        """Accept one process. @return: whether one connected."""
        try:
            peer, _ = self._handle.accept()
        except OSError as error:
            if error.errno in EXHAUSTED:
                self._wait(error.errno)
            return False
        _, uid, _ = _CREDENTIALS.unpack(
            peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        if uid == os.getuid():
            self._peers.add(_Peer(self._reactor, peer, self._take, self._peers))
        else:
            self.log.warn("refused to take visitors from a process of user {uid}", uid=uid)
            peer.close()
        return True

    def _wait(self, number: int) -> None:
        """No file descriptor is left: the process waits in the kernel's queue."""
        Shortage.of(self._reactor).met(number)
        self._reactor.removeReader(self)
        self._again = self._reactor.callLater(ACCEPT_AGAIN, self._reactor.addReader, self)

    def close(self) -> None:
        """Take all connections that were sent until now, then refuse more: the other processes serve them."""
        if self._handle.fileno() < 0:
            return
        self._handle.shutdown(socket.SHUT_RD)
        while self._accept_one():
            pass
        cancel(self._again)
        super().close()
        for peer in list(self._peers):
            peer.finish()


class _Peer(_Readable):
    """The connection to one other process. @param peers: the set of all of them."""

    def __init__(self, reactor: Any, handle: socket.socket, take: Take, peers: set[_Peer]) -> None:
        self._take = take
        self._peers = peers
        self._again: IDelayedCall | None = None
        super().__init__(reactor, handle)

    def doRead(self) -> None:
        """Take connections that wait, at most L{MAX_AT_ONCE}."""
        for _ in range(MAX_AT_ONCE):
            if exhausted(2):  # a visitor needs one, and for a moment another
                Shortage.of(self._reactor).met(errno.EMFILE)
                self._reactor.removeReader(self)
                self._again = self._reactor.callLater(ACCEPT_AGAIN, self._reactor.addReader, self)
                return  # the others wait in the queue; when it is full, their process relays them
            if not self._take_one():
                return

    def finish(self) -> None:
        """Take all connections that wait, then close. The other process can send no more."""
        with contextlib.suppress(OSError):  # the other process has ended
            self._handle.shutdown(socket.SHUT_RD)
        while self._take_one():
            pass
        self.close()

    def _take_one(self) -> bool:
        """Take one connection. @return: whether more may wait."""
        try:
            message, numbers, _, _ = socket.recv_fds(self._handle, MAX_READ + 256, 1)
        except BlockingIOError:
            return False
        except OSError:
            self.close()
            return False
        if not message:
            self.close()  # the other process has closed it
            return False
        self._unpack(message, numbers)
        return True

    def _unpack(self, message: bytes, numbers: list[int]) -> None:
        if not numbers:
            Shortage.of(self._reactor).met(errno.EMFILE)  # the descriptor, and so the visitor, is lost
            return
        handle = socket.socket(fileno=numbers[0])
        try:
            head, _, data = message.partition(b"\n")
            box = json.loads(head)
            self._take(box["at"], box["port"], handle, data, box.get("peer"))
        except OSError as error:  # as of a visitor that has reset its connection
            if error.errno in EXHAUSTED:
                Shortage.of(self._reactor).met(error.errno)
            self.log.debug("cannot take a visitor from another process: {error}", error=error)
        except Exception:
            self.log.failure("cannot take a visitor from another process; its connection is closed")
        finally:
            handle.close()  # the reactor has a duplicate

    def close(self) -> None:
        """Take no more connections of this process."""
        self._peers.discard(self)
        cancel(self._again)
        super().close()


class Handover:
    """Hands connections to the doors of other processes. It has one socket per process."""

    log = Logger()

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}

    def hand(self, door: str, at: str, port: int | None, transport: Any, data: bytes | bytearray) -> bool:
        """
        Hand a connection over.

        @param door: of the other process. @param at, port: see L{Take}.
        @param transport: the connection, from which C{data} was read and to which nothing was written. If it
            is handed over, it is lost here.
        @return: whether it is handed over. If not, it is unchanged.
        """
        if len(data) > MAX_READ:
            return False
        box: dict[str, Any] = {"at": at, "port": port}
        if (visitor := getattr(transport, "balanced", None)) is not None:
            box["peer"] = [visitor.host, visitor.port]  # a balancer's header said so, which is read
        message = json.dumps(box).encode() + b"\n" + data
        try:
            # Twisted ends a connection by shutdown(2) or a reset, which would end it for the other process
            # too.
            # So this unconnected socket takes the place of its descriptor.
            empty = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            return False  # no descriptor is left
        with empty:
            if not self._send(door, message, transport.fileno()):
                return False
            transport.stopReading()
            transport.stopWriting()
            os.dup2(empty.fileno(), transport.fileno(), inheritable=False)
        transport.abortConnection()
        return True

    def _send(self, door: str, message: bytes, number: int) -> bool:
        """Send a message with a descriptor. @return: whether it was sent."""
        for _ in range(2):  # the known socket may lead to a process that has ended
            sender = self._sockets.get(door) or self._open(door)
            if sender is None:
                return False
            try:
                socket.send_fds(sender, [message], [number])
                return True
            except BlockingIOError:
                return False  # its queue is full
            except OSError as error:
                self.log.debug("the socket to another process is closed: {error}", error=error)
                self._sockets.pop(door).close()
        return False

    def _open(self, door: str) -> socket.socket | None:
        try:
            sender = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            return None  # no descriptor is left
        sender.setblocking(False)
        try:
            sender.connect("\0" + door)
        except OSError:
            sender.close()
            return None
        self._sockets[door] = sender
        return sender

    def forget(self, but: Collection[str] = ()) -> None:
        """Close the sockets to all doors but these."""
        for door in self._sockets.keys() - set(but):
            self._sockets.pop(door).close()
