"""
The protocol of one visitor's stream: reads requests, answers one after the other.

Whatever touches the disk runs in the reactor's threads, a few at a time: the folder may be on a disk of
another machine that does not answer, and names of hosts are looked up in the same threads. A file is read as
the visitor takes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.http.head import BadMessage
from burrow.http.request_head import MAX_HEAD, RequestHead, RequestReader
from burrow.mux.pipe import break_off
from burrow.protocols.files.answer import Answer, answer, told
from burrow.protocols.files.tree import Root

AT_ONCE = 4
"""Threads that read files, at most. The reactor has ten, which look up names of hosts, too."""

BLOCK = 128 * 1024
"""Bytes that are read of a file at a time."""

Run = Callable[..., Deferred[Any]]


class Threads:
    """Runs blocking functions of all streams of a reactor, at most L{AT_ONCE} at a time."""

    _known: WeakKeyDictionary[object, Threads] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._free = DeferredSemaphore(AT_ONCE)

    @classmethod
    def run(cls, reactor: Any, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Run a function in a thread of the reactor's; fires with what it returns."""
        threads = cls._known.setdefault(reactor, cls())
        pool = reactor.getThreadPool()  # its own, and not that of the one reactor that Twisted installs
        running: Deferred[Any] = threads._free.run(deferToThreadPool, reactor, pool, function, *arguments)
        return running


class Shorter(Exception):
    """The file has become shorter while it was sent."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class FilesServer(Protocol):
    """
    See the module.

    @param listed: whether a folder without an index page is listed.
    @param run: runs a blocking function, as L{Threads.run} without its reactor.
    """

    log = Logger()
    transport: Any

    def __init__(self, root: Root, listed: bool, run: Run) -> None:
        self._root = root
        self._listed = listed
        self._run = run
        self._reader = RequestReader()
        self._waiting = b""
        self._busy = False
        self._lost = False
        self._ended = False
        self._room: Deferred[None] | None = None

    # -- requests -----------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Requests. What comes behind one that is being answered is kept, up to the size of a head."""
        self._waiting += data
        if not self._busy:
            self._next()
        elif len(self._waiting) > MAX_HEAD:
            self.transport.pauseProducing()

    def _next(self) -> None:
        """Begin with the next request, if it has come."""
        data, self._waiting = self._waiting, b""
        try:
            read = self._reader.feed(data) if data else None
        except BadMessage as error:
            self._begin(None, told(400, f"This is no request: {error.text}."))
            return
        if read is not None:
            head, self._waiting = read
            self._begin(head, None)
        elif self._ended:
            self.transport.loseConnection()

    def _begin(self, head: RequestHead | None, given: Answer | None) -> None:
        self._busy = True
        serving = Deferred.fromCoroutine(self._serve(head, given))
        serving.addErrback(self._failed)

    async def _serve(self, head: RequestHead | None, given: Answer | None) -> None:
        # A body means nothing here (RFC 9110 section 9.3.1): the connection is closed instead of reading it.
        close = head is None or not head.keep_alive or head.length != 0
        if given is None:
            given = await self._run(answer, self._root, self._listed, head)
        try:
            if self._lost:
                return
            self.transport.write(given.head(close))
            if given.status != 304 and (head is None or head.method != b"HEAD"):
                await self._send(given)
        finally:
            given.close()
        if self._lost:
            return
        if close:
            self.transport.loseConnection()
            return
        self._busy = False
        self.transport.resumeProducing()
        self._next()

    def _failed(self, reason: Failure) -> None:
        if reason.check(Shorter):
            self.log.warn("a file became shorter while it was sent; its visitor's connection is broken off")
        else:
            self.log.failure("a file cannot be sent; its visitor's connection is broken off", reason)
        if not self._lost:
            break_off(self.transport)

    # -- a body -------------------------------------------------------------------------------

    async def _send(self, given: Answer) -> None:
        """Write what follows the head, as the stream takes it."""
        self.transport.registerProducer(self, True)
        try:
            for piece in given.pieces:
                if isinstance(piece, bytes):
                    self.transport.write(piece)
                    continue
                position, left = piece
                while left:
                    if self._room is not None:
                        await self._room
                    if self._lost:
                        return
                    data = await self._run(os.pread, given.file, min(left, BLOCK), position)
                    if not data:
                        raise Shorter
                    position, left = position + len(data), left - len(data)
                    self.transport.write(data)
        finally:
            if not self._lost:
                self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """The stream has enough."""
        if self._room is None:
            self._room = Deferred()

    def resumeProducing(self) -> None:
        """The stream takes more."""
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def stopProducing(self) -> None:
        """The stream is closed."""
        self._lost = True
        self.resumeProducing()

    # -- ends ---------------------------------------------------------------------------------

    def readConnectionLost(self) -> None:
        """The visitor asks no more: answer what was asked."""
        self._ended = True
        if not self._busy:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our half is closed: nothing to do."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The visitor left."""
        self.stopProducing()
