"""An agent's session together with what it takes to go on with it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from burrow.mux.lifeline import Lifeline
from burrow.mux.session import Session


class Linked:
    """
    An agent's session, and what it takes to go on with it over another WebSocket.

    @ivar lifeline: None if the server has no resumable sessions.
    @ivar leaving: whether the server takes no more on this session: the next one must be a new one.
    @ivar on_trouble: called when the connection is lost or suspected, or the session is lost: dial again.
    """

    def __init__(self, session: Session, lifeline: Lifeline | None, session_id: str) -> None:
        self.session = session
        self.lifeline = lifeline
        self.session_id = session_id
        self.leaving = False
        self.on_trouble: Callable[[], None] = lambda: None
        session.on_lost = lambda reason: self.on_trouble()
        session.on_go_away = lambda code: self.leave()
        if lifeline is not None:
            lifeline.on_detached = lambda reason: self.on_trouble()

    @property
    def resumable(self) -> bool:
        """Whether another WebSocket may go on with it."""
        return self.lifeline is not None and not self.session.lost

    def leave(self) -> None:
        """The server is going away."""
        self.leaving = True
        self.on_trouble()

    def trouble(self) -> Deferred[None]:
        """Fires, once, when L{on_trouble} is called next; replaces who listened before."""
        trouble: Deferred[None] = Deferred()

        def tell() -> None:
            if not trouble.called:
                trouble.callback(None)

        self.on_trouble = tell
        return trouble

    @property
    def attached(self) -> bool:
        """Whether there is a connection now, suspected or not."""
        return not self.session.lost and (self.lifeline is None or self.lifeline.attached)
