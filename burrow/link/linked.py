"""An agent's session, and what is needed to resume it."""

from __future__ import annotations

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from burrow.mux.lifeline import Lifeline
from burrow.mux.session import Session

GOODBYE_TIMEOUT = 1.0
"""Seconds that the server has to close a session that its agent ends."""


class Linked:
    """
    An agent's session, and what is needed to resume it over another WebSocket.

    @ivar lifeline: None if the server has no resumable sessions.
    @ivar leaving: whether the server wants the agent to begin a new session.
    @ivar server_version: the release of the server that it is connected to, or was last; empty if that did
        not say.
    @ivar token_name: what the server calls the agent's token; likewise.
    """

    def __init__(self, session: Session, lifeline: Lifeline | None, session_id: str) -> None:
        self.session = session
        self.lifeline = lifeline
        self.session_id = session_id
        self.leaving = False
        self.server_version = ""
        self.token_name = ""
        self._waiting: list[Deferred[None]] = []
        session.on_lost.append(lambda reason: self.report_trouble())
        session.on_go_away.append(lambda code: self.leave())
        if lifeline is not None:
            lifeline.on_detached.append(lambda reason: self.report_trouble())

    @property
    def resumable(self) -> Lifeline | None:
        """Its lifeline, if another WebSocket may resume it."""
        return None if self.session.lost else self.lifeline

    def leave(self) -> None:
        """The server is going away."""
        self.leaving = True
        self.report_trouble()

    def trouble(self) -> Deferred[None]:
        """
        Wait for the next reason to dial again.

        @return: fires when the connection is lost or suspected, when the server goes away, when the session
            is lost, or with L{report_trouble}. It may be cancelled.
        """
        trouble: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(trouble)
        return trouble

    def report_trouble(self) -> None:
        """Have those that wait for L{trouble} dial again."""
        for trouble in list(self._waiting):
            if not trouble.called:  # a callback of another one may have cancelled it
                self._waiting.remove(trouble)
                trouble.callback(None)

    @property
    def attached(self) -> bool:
        """Whether there is a connection now, suspected or not."""
        return self.session.connected

    async def say_goodbye(self, clock: IReactorTime, reason: str) -> None:
        """Close the session. It is aborted if it is still open L{GOODBYE_TIMEOUT} seconds later."""
        if self.session.lost:
            return
        lost: Deferred[None] = Deferred()
        self.session.on_lost.append(lambda _: None if lost.called else lost.callback(None))
        self.session.close(reason)
        try:
            await lost.addTimeout(GOODBYE_TIMEOUT, clock)
        except TimeoutError:
            self.session.abort()
