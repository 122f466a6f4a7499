"""
Visitors' connections that change over to another process on this machine.

The processes of one C{burrow server} share their listening sockets, so a visitor meets any of them, and
another may hold the tunnel's session. As long as nothing was answered, and no TLS has begun, the socket
itself can go there, by SCM_RIGHTS (unix(7)), with the bytes that were read from it. Then no byte is relayed.

Each process has a door: a Unix socket of type SOCK_SEQPACKET in Linux's abstract namespace, whose name other
processes find in its L{Node<burrow.server.nodes.records.Node>}. One message is one connection::

    {"at": "https", "http" or "tcp", "port": the tunnel's TCP port or null} newline, the bytes read so far

Where a system has no such sockets, or a door's queue is full, the visitor stays and is relayed.
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

from burrow.descriptors import EXHAUSTED, Shortage
from burrow.server.listening import ACCEPT_AGAIN

MAX_READ = 128 * 1024
"""Bytes that were read from a connection which may still be handed over."""

MAX_AT_ONCE = 32
"""Connections that are taken in one turn of the reactor."""

_BACKLOG = 16
_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid

Take = Callable[[str, "int | None", socket.socket, bytes], None]
"""
Takes a connection: where its visitor came in ("https", "http" or "tcp"), the port of a TCP tunnel's, the
socket, and the bytes that were read from it.
"""


def possible() -> bool:
    """Whether this system has what a door needs."""
    return sys.platform.startswith("linux") and hasattr(socket, "SOCK_SEQPACKET")


@implementer(IReadDescriptor)
class _Readable:
    """A socket that the reactor reads."""

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
        """Read no more."""
        if self._handle.fileno() >= 0:
            self._reactor.removeReader(self)
            self._handle.close()


class Door(_Readable):
    """
    Where other processes of this server hand connections in. Processes of other users are turned away.

    @ivar name: what other processes find it by. @param take: called with each connection.
    """

    def __init__(self, reactor: Any, take: Take) -> None:
        self.name = f"burrow-{secrets.token_hex(16)}"
        self._take = take
        self._inner: set[_Passage] = set()
        self._again: IDelayedCall | None = None
        handle = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        handle.bind("\0" + self.name)
        handle.listen(_BACKLOG)
        super().__init__(reactor, handle)

    def doRead(self) -> None:
        """Another process begins to hand over."""
        self._let_in()

    def _let_in(self) -> bool:
        """Let one process in. @return: whether one came."""
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
            self._inner.add(_Passage(self._reactor, peer, self._take, self._inner))
        else:
            self.log.warn("refused a process of user {uid} that wanted to hand over a visitor", uid=uid)
            peer.close()
        return True

    def _wait(self, number: int) -> None:
        """No file descriptor is left: who came waits in the kernel's queue."""
        Shortage.of(self._reactor).met(number)
        self._reactor.removeReader(self)
        self._again = self._reactor.callLater(ACCEPT_AGAIN, self._reactor.addReader, self)

    def close(self) -> None:
        """Take what was handed over until now, and no more: the other processes keep what comes later."""
        if self._handle.fileno() < 0:
            return
        self._handle.shutdown(socket.SHUT_RD)
        while self._let_in():
            pass
        if self._again is not None and self._again.active():
            self._again.cancel()
        super().close()
        for passage in list(self._inner):
            passage.finish()


class _Passage(_Readable):
    """One other process's way through the door. C{inner}: all of them."""

    def __init__(self, reactor: Any, handle: socket.socket, take: Take, inner: set[_Passage]) -> None:
        self._take = take
        self._inner = inner
        super().__init__(reactor, handle)

    def doRead(self) -> None:
        """Take the connections that wait, some of them."""
        for _ in range(MAX_AT_ONCE):
            if not self._take_one():
                return

    def finish(self) -> None:
        """Take all connections that wait, then close. The other process cannot send more from here on."""
        with contextlib.suppress(OSError):  # it is gone
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
            self.close()  # the other process is gone
            return False
        self._accept(message, numbers)
        return True

    def _accept(self, message: bytes, numbers: list[int]) -> None:
        if not numbers:
            Shortage.of(self._reactor).met(errno.EMFILE)  # the visitor is lost
            return
        handle = socket.socket(fileno=numbers[0])
        try:
            head, _, data = message.partition(b"\n")
            box = json.loads(head)
            self._take(box["at"], box["port"], handle, data)
        except Exception:
            self.log.failure("a visitor that another process handed over was lost")
        finally:
            handle.close()  # who took it has a duplicate

    def close(self) -> None:
        """Take no more of this process's."""
        self._inner.discard(self)
        super().close()


class Handover:
    """Hands connections to other processes' doors; bounded by the server's processes."""

    log = Logger()

    def __init__(self) -> None:
        self._ways: dict[str, socket.socket] = {}

    def hand(self, door: str, at: str, port: int | None, transport: Any, data: bytes | bytearray) -> bool:
        """
        Hand a connection over.

        @param door: the other process's. @param at, port: see L{Take}.
        @param transport: the connection, from which C{data} was read and to which nothing was written; when
            it is handed over it is lost here.
        @return: whether it is handed over. If not, nothing has happened to it.
        """
        if len(data) > MAX_READ:
            return False
        message = json.dumps({"at": at, "port": port}).encode() + b"\n" + data
        try:
            # Twisted ends a connection by shutdown(2) or a reset, which would end it for the other process,
            # too: what it closes here is this unconnected socket, in the descriptor's place.
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
        for _ in range(2):  # the way that is known may lead to a process that is gone
            way = self._ways.get(door) or self._open(door)
            if way is None:
                return False
            try:
                socket.send_fds(way, [message], [number])
                return True
            except BlockingIOError:
                return False  # it has as many waiting as fit
            except OSError as error:
                self.log.debug("the way to another process is closed: {error}", error=error)
                self._ways.pop(door).close()
        return False

    def _open(self, door: str) -> socket.socket | None:
        way = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        way.setblocking(False)
        try:
            way.connect("\0" + door)
        except OSError:
            way.close()
            return None
        self._ways[door] = way
        return way

    def forget(self, but: Collection[str] = ()) -> None:
        """Close the ways to all doors but these."""
        for door in self._ways.keys() - set(but):
            self._ways.pop(door).close()
