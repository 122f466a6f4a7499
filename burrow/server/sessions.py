"""How many sessions each token has, and whether one more may begin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from burrow.errors import BurrowError
from burrow.store.base import Token
from burrow.wording import count_of

HANDSHAKE = 11.0
"""Seconds after which a handshake that was let in has begun its session, or never will."""


class TooManySessions(BurrowError):
    """The token has as many sessions as it may. One that ends makes room: trying again may help."""


class User(Protocol):
    """An agent that is connected, or was and is expected back."""

    @property
    def token(self) -> Token:
        """The token that it uses."""

    @property
    def agent_id(self) -> str:
        """What it calls itself."""

    @property
    def attached(self) -> bool:
        """Whether it has a connection now."""

    def give_way(self) -> None:
        """End the session at once: its agent begins another one."""


class Sessions:
    """
    Counts sessions here, and handshakes that were let in and are not done; and asks how many there are
    elsewhere.

    @param users: all sessions that are here, changing.
    @param elsewhere: how many sessions a token, by its id, has on other nodes, as of the last look.
    """

    def __init__(self, clock: Any, users: Iterable[User], elsewhere: Callable[[str], int]) -> None:
        self._clock = clock
        self._users = users
        self._elsewhere = elsewhere
        self._let_in: dict[str, list[float]] = {}

    def counts(self) -> dict[str, int]:
        """The sessions that are here, by the token's id."""
        return dict(Counter(user.token.id for user in self._users))

    def let_in(self, token_id: str, agent_id: str, limit: int | None) -> None:
        """
        One more handshake. At the limit a session of the same agent's that has no connection gives way: its
        agent was started anew.

        @raise TooManySessions: it would be one session more than C{limit}.
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
                    f"the token has {count_of(limit, 'agent')} connected, as many as it may: end one, or "
                    "ask the server's owner to allow more with `burrow token set`"
                )
            before[0].give_way()
        under_way.append(now)

    def begun(self, token_id: str) -> None:
        """A handshake that was let in became a session."""
        under_way = self._let_in.get(token_id)
        if under_way:
            under_way.pop(0)
