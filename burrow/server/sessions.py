"""Counts the sessions of each token, and refuses those above its limit."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any, Protocol

from burrow.errors import BurrowError
from burrow.store.base import Token
from burrow.wording import count_of

HANDSHAKE = 11.0
"""Seconds after which an admitted handshake that has not begun a session will not begin one."""


class TooManySessions(BurrowError):
    """The token is at its limit of sessions. A later attempt may succeed, when one has ended."""


class User(Protocol):
    """An agent with a session, connected or not."""

    @property
    def token(self) -> Token:
        """Its token."""

    @property
    def agent_id(self) -> str:
        """Its id, from its handshake."""

    @property
    def attached(self) -> bool:
        """Whether it has a connection now."""

    def give_way(self) -> None:
        """End the session at once, since its agent begins another one."""


class Sessions:
    """
    Counts sessions, here and on other nodes, and admitted handshakes that have not begun one yet. To let an
    agent in costs the same however many there are.

    @param elsewhere: returns how many sessions a token, by its id, has on other nodes, as last read.
    """

    def __init__(self, clock: Any, elsewhere: Callable[[str], int]) -> None:
        self._clock = clock
        self._elsewhere = elsewhere
        self._here: defaultdict[str, set[User]] = defaultdict(set)
        self._let_in: defaultdict[str, deque[float]] = defaultdict(deque)
        self._looked = 0.0

    def let_in(self, token_id: str, agent_id: str, limit: int | None) -> None:
        """
        Admit one more handshake. At the limit, a session of the same agent that has no connection is ended,
        since the agent was started again.

        @raise TooManySessions: the token has C{limit} sessions already.
        """
        now = self._clock.seconds()
        if now - self._looked >= HANDSHAKE:
            self._looked = now
            for each in list(self._let_in):
                self._forget_old(each, now)
        if limit is None:
            return
        self._forget_old(token_id, now)
        here = self._here.get(token_id, ())
        if len(here) + len(self._let_in.get(token_id, ())) + self._elsewhere(token_id) >= limit:
            before = [user for user in here if user.agent_id == agent_id and not user.attached]
            if not before:
                raise TooManySessions(
                    f"the token has {count_of(limit, 'agent')} connected, which is its limit: end one, or "
                    "ask the server's owner to allow more with `burrow token set`"
                )
            before[0].give_way()
        self._let_in[token_id].append(now)

    def _forget_old(self, token_id: str, now: float) -> None:
        under_way = self._let_in[token_id]
        while under_way and now - under_way[0] >= HANDSHAKE:
            under_way.popleft()
        if not under_way:
            del self._let_in[token_id]

    def began(self, user: User) -> None:
        """An admitted handshake became a session."""
        self._here[user.token.id].add(user)
        under_way = self._let_in.get(user.token.id)
        if under_way:
            under_way.popleft()

    def ended(self, user: User) -> None:
        """A session is over."""
        here = self._here[user.token.id]
        here.discard(user)
        if not here:
            del self._here[user.token.id]
