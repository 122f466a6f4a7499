"""
Whether the tokens of connected agents still are what the agents showed: asked every L{CHECK_EVERY} seconds
for all of them with one question, and again at each command. An agent whose token was revoked, or was given
another secret, is told so and its session ends, attached or not.

While the store cannot tell, sessions go on; they end at the first check after it can.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from burrow.errors import NotAllowed
from burrow.server.rounds import Rounds
from burrow.store.base import IStore, Token

CHECK_EVERY = 2.0
"""Seconds between two checks."""


class Holder(Protocol):
    """
    Who uses a token: an agent.

    @ivar token: its record, as of the last check.
    """

    token: Token

    def end(self, why: str) -> None:
        """End the session, and say why."""


def refusal(shown: Token, now: Token | None) -> str:
    """Why a token that was good when it was shown is not any more; empty if it still is."""
    if now is None:
        return f"the token {shown.name!r} was revoked: ask the server's owner for another"
    if now.digest != shown.digest:
        return f"the token {shown.name!r} has another secret now: use the new one, as `burrow login` does"
    if now.role == "viewer":
        return f"the token {now.name!r} may look, not run tunnels"
    return ""


class TokenWatch(Rounds):
    """@param holders: all agents that are connected, changing."""

    every = CHECK_EVERY
    what = "a check of the agents' tokens"

    def __init__(self, clock: Any, store: IStore, holders: Iterable[Holder]) -> None:
        super().__init__(clock)
        self._clock = clock
        self._store = store
        self._holders = holders

    async def ask_again(self, holder: Holder) -> Token:
        """
        The token's record as it is now, before a command.

        @raise NotAllowed: it is not good any more; the session ends once this is answered.
        @raise StoreError: the store cannot tell.
        """
        now: Token | None = await self._store.token(holder.token.id)
        why = refusal(holder.token, now)
        if why:
            self._clock.callLater(0, holder.end, why)
            raise NotAllowed(why)
        assert now is not None
        holder.token = now
        return now

    async def round(self) -> None:
        """Check all of them. See L{Rounds}."""
        ids = {holder.token.id for holder in self._holders}
        if not ids:
            return
        found: dict[str, Token | None] = dict(await self._store.find_tokens(ids))
        for token_id in ids - found.keys():
            # Not there: revoked, or lost with what a store lost, which only this question tells apart.
            found[token_id] = await self._store.token(token_id)
        for holder in list(self._holders):
            if holder.token.id in found:
                now = found[holder.token.id]
                why = refusal(holder.token, now)
                if why:
                    holder.end(why)
                elif now is not None:
                    holder.token = now
