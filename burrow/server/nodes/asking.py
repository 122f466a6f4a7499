"""
Questions from one node to another, each on a stream of its own on the link between them.

A question has a name and arguments, a JSON object. Its answer is one JSON text, then the stream's end. What
is followed instead of asked is answered line by line, each a JSON text, until the asker ends the stream. A
node of an older release, or one that does not know the question, resets the stream: it has not answered.

Nodes of two releases run side by side while a server is reloaded with a newer one. So what a question and its
answer are made of never changes: they get keys, and keep those that they have. What an answer has beside what
its asker knows is ignored, and one that the asker cannot read is none.

A node asks itself by the same calls, without a stream.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, gatherResults
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.errors import BurrowError, StreamGone
from burrow.mux.session import Session
from burrow.server.nodes.boxes import AskBox

ANSWER_WITHIN = 2.0
"""Seconds that a node may take to answer."""

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of an answer, or of a line of what is followed, at most."""

Answer = Callable[[dict[str, Any]], Awaitable[Any]]
"""Answers a question, with what JSON can say."""

Send = Callable[[Any], None]

Follow = Callable[[dict[str, Any], Send], Callable[[], None]]
"""Calls the second argument with each piece of an answer, until what it returns is called."""

Read = Callable[[Any], Any]
"""
Makes of an answer what its asker wants. What it raises of L{UNREADABLE} says that it cannot: the other node
is of another release.
"""

UNREADABLE = (LookupError, TypeError, ValueError, AttributeError)

Asked = Callable[[AskBox], Protocol]
"""Builds what answers the question in a box."""


class Unanswered(BurrowError):
    """A node did not answer: it cannot be reached, took too long, or failed."""


def as_told(answer: Any) -> Any:
    """A L{Read} that reads nothing."""
    return answer


class Questions:
    """
    @param own_id: this node's id. @param session_with: returns the session with another node, or None.
    @param others: returns the ids of the other nodes that are alive.
    @ivar answers: what this node answers, by name. @ivar follows: what can be followed here, by name.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        own_id: str,
        session_with: Callable[[str], Session | None],
        others: Callable[[], Collection[str]],
    ) -> None:
        self.own_id = own_id
        self.answers: dict[str, Answer] = {}
        self.follows: dict[str, Follow] = {}
        self.others = others
        self._clock = clock
        self._session_with = session_with

    # -- asked by others ------------------------------------------------------------------------------------

    def asked(self, box: AskBox) -> Protocol:
        """What answers another node's question on its stream."""
        try:
            of = json.loads(box.of)
        except (ValueError, RecursionError):
            of = None
        if not isinstance(of, dict):
            return _Refuse()
        if box.question in self.follows:
            return _Followed(self.follows[box.question], of)
        answer = self.answers.get(box.question)
        return _Refuse() if answer is None else _Answering(answer, of)

    # -- asking ---------------------------------------------------------------------------------------------

    async def ask(self, node: str, question: str, read: Read = as_told, /, **of: Any) -> Any:
        """
        What a node answers. @raise Unanswered: it does not, or C{read} cannot read the answer.

        A question to this node itself raises what its answer raises.
        """
        if node == self.own_id:
            return read(await self.answers[question](of))
        answer = await self._asked_of(node, question, of)
        try:
            return read(answer)
        except UNREADABLE as error:
            raise Unanswered(f"node {node} is of another release, whose answer cannot be read") from error

    async def _asked_of(self, node: str, question: str, of: dict[str, Any]) -> Any:
        session = self._session_with(node)
        if session is None:
            raise Unanswered(f"node {node} is not linked")
        asker = _Asker()
        try:
            session.open_stream(asker, AskBox(question, json.dumps(of)).encode())
        except StreamGone as error:
            raise Unanswered(f"node {node} is not linked") from error
        try:
            return await asker.answer.addTimeout(ANSWER_WITHIN, self._clock)
        except TimeoutError as error:
            asker.stop()
            raise Unanswered(f"node {node} did not answer in time") from error

    async def ask_all(
        self, question: str, read: Read = as_told, /, **of: Any
    ) -> tuple[dict[str, Any], list[str]]:
        """
        What all nodes answer, by id, this one included; and the ids of those that do not answer, or whose
        answer C{read} cannot read.
        """
        nodes = [self.own_id, *self.others()]
        asking = [Deferred.fromCoroutine(self._ask_or_none(node, question, read, of)) for node in nodes]
        found = dict(zip(nodes, await gatherResults(asking), strict=True))
        silent = sorted(node for node, answer in found.items() if answer is None)
        return {node: answer[0] for node, answer in found.items() if answer is not None}, silent

    async def _ask_or_none(
        self, node: str, question: str, read: Read, of: dict[str, Any]
    ) -> tuple[Any] | None:
        try:
            return (await self.ask(node, question, read, **of),)
        except Unanswered as error:
            self.log.debug("{error}", error=error)
            return None

    def follow(
        self, node: str, question: str, of: dict[str, Any], received: Send, lost: Callable[[], None]
    ) -> Callable[[], None]:
        """
        Follow something on a node. @param received: called with each piece.
        @param lost: called once when it ends, if it was not stopped. @return: stops it.

        @raise Unanswered: the node cannot be reached.
        """
        if node == self.own_id:
            return self.follows[question](of, received)
        session = self._session_with(node)
        follower = _Follower(received, lost)
        try:
            if session is None:
                raise StreamGone("it is not linked")
            session.open_stream(follower, AskBox(question, json.dumps(of)).encode())
        except StreamGone as error:
            raise Unanswered(f"node {node} is not linked") from error
        return follower.stop


class _Refuse(Protocol):
    """Resets the stream of a question that is not understood."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


class _Answering(Protocol):
    """Answers a question."""

    log = Logger()
    transport: Any

    def __init__(self, answer: Answer, of: dict[str, Any]) -> None:
        self._answer = answer
        self._of = of
        self._working: Deferred[None] | None = None

    def connectionMade(self) -> None:
        """See L{Protocol}."""
        self._working = Deferred.fromCoroutine(self._work())
        self._working.addErrback(self._failed)

    async def _work(self) -> None:
        answer = await self._answer(self._of)
        self.transport.write(json.dumps(answer).encode())
        self.transport.loseConnection()

    def _failed(self, reason: Failure) -> None:
        if not reason.check(BurrowError):
            self.log.failure("cannot answer another node's question", reason)
        self.transport.abortConnection()


@implementer(IPushProducer)
class _Followed(Protocol):
    """Tells another node what it follows. What comes while the stream is full is left out, and counted."""

    transport: Any

    def __init__(self, follow: Follow, of: dict[str, Any]) -> None:
        self._follow = follow
        self._of = of
        self._stop: Callable[[], None] | None = None
        self._full = False
        self._dropped = 0

    def connectionMade(self) -> None:
        """See L{Protocol}."""
        self.transport.registerProducer(self, True)
        self._stop = self._follow(self._of, self._send)

    def _send(self, piece: Any) -> None:
        if self._full:
            self._dropped += 1
        else:
            self.transport.write(json.dumps(piece).encode() + b"\n")

    def pauseProducing(self) -> None:
        """See L{IPushProducer}."""
        self._full = True

    def resumeProducing(self) -> None:
        """See L{IPushProducer}."""
        self._full = False
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._send({"dropped": dropped})

    def stopProducing(self) -> None:
        """See L{IPushProducer}."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{Protocol}: nobody follows any more."""
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()


def questions_on(session: Session) -> int:
    """How many streams of a session carry questions that are being answered here."""
    return sum(isinstance(protocol, _Answering | _Followed) for protocol in session.protocols)


class _Asker(Protocol):
    """@ivar answer: fires with what the other node answers; fails with L{Unanswered}."""

    def __init__(self) -> None:
        self.answer: Deferred[Any] = Deferred()
        self._received: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        """See L{Protocol}."""
        self._received.append(data)
        self._size += len(data)
        if self._size > MAX_ANSWER:
            self.stop()

    def stop(self) -> None:
        """Want no answer any more."""
        self._received = []
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{Protocol}: the answer is whole, or there is none."""
        if self.answer.called:
            return
        try:
            self.answer.callback(json.loads(b"".join(self._received)))
        except (ValueError, RecursionError):
            self.answer.errback(Unanswered("the other node gave no answer"))


class _Follower(Protocol):
    """Follows something on another node."""

    log = Logger()

    def __init__(self, received: Send, lost: Callable[[], None]) -> None:
        self._received = received
        self._lost = lost
        self._stopped = False
        self._line = b""

    def dataReceived(self, data: bytes) -> None:
        """See L{Protocol}."""
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            if self._stopped:
                return
            try:
                self._received(json.loads(line))
            except (*UNREADABLE, RecursionError) as error:
                self.log.warn("another node told what cannot be read: {error!r}", error=error)
        if len(self._line) > MAX_ANSWER:
            self._abort()

    def stop(self) -> None:
        """Follow no more."""
        self._stopped = True
        self._abort()

    def _abort(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{Protocol}."""
        if not self._stopped:
            self._stopped = True
            self._lost()
