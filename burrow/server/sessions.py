"""Counts the sessions of each token, and refuses those above its limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
    Counts sessions, here and on other nodes, and admitted handshakes that have not begun one yet.

    @param users: the sessions of this node, a live collection.
    @param elsewhere: returns how many sessions a token, by its id, has on other nodes, as last read.
    """

    def __init__(self, clock: Any, users: Iterable[User], elsewhere: Callable[[str], int]) -> None:
        self._clock = clock
        self._users = users
        self._elsewhere = elsewhere
        self._let_in: dict[str, list[float]] = {}

    def let_in(self, token_id: str, agent_id: str, limit: int | None) -> None:
        """
        Admit one more handshake. At the limit, a session of the same agent that has no connection is ended,
        since the agent was started again.

        @raise TooManySessions: the token has C{limit} sessions already.
        """
        now = self._clock.seconds()
        self._let_in = {
            key: recent
            for key, times in self._let_in.items()
            if (recent := [when for when in times if now - when < HANDSHAKE])
        }
        if limit is None:
            return
        under_way = self._let_in.setdefault(token_id, [])
        here = [user for user in self._users if user.token.id == token_id]
        if len(here) + len(under_way) + self._elsewhere(token_id) >= limit:
            before = [user for user in here if user.agent_id == agent_id and not user.attached]
            if not before:
                raise TooManySessions(
                    f"the token has {count_of(limit, 'agent')} connected, which is its limit: end one, or "
                    "ask the server's owner to allow more with `burrow token set`"
                )
            before[0].give_way()
        under_way.append(now)

    def begun(self, token_id: str) -> None:
        """An admitted handshake became a session."""
        under_way = self._let_in.get(token_id)
        if under_way:
            under_way.pop(0)
