"""
Whether the tokens of connected agents still are what the agents showed.

The store tells each node which tokens changed (L{burrow.server.changes}). Of those that agents here showed,
and of each that a new agent showed, a node asks every L{CHECK_EVERY} seconds with one question what they are
now; and at each command. An agent whose token was revoked, or was given another secret, is told so and its
session ends, attached or not.

While the store cannot tell, sessions go on; they end at the first check after it can.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from burrow.errors import NotAllowed
from burrow.server.rounds import Rounds
from burrow.store.base import IStore, Token
from burrow.store.changes import Changes

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
        return f"the token {now.name!r} has the role viewer, which may not run tunnels"
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
        self._doubted: set[str] = set()

    def began(self, holder: Holder) -> None:
        """An agent is connected: its token may have changed since it was checked."""
        self._doubted.add(holder.token.id)

    def changed(self, changes: Changes) -> None:
        """See L{ChangeReader<burrow.server.changes.ChangeReader>}."""
        ids = {holder.token.id for holder in self._holders} if changes.whole or changes.tokens else set()
        self._doubted |= ids if changes.whole else ids & changes.tokens

    async def ask_again(self, holder: Holder) -> Token:
        """
        The token's record as it is now, before a command.

        @raise NotAllowed: it is not good any more; the session ends once this is answered.
        @raise StoreError: the store cannot tell.
        """
        now = await self._store.token(holder.token.id)
        why = refusal(holder.token, now)
        if why:
            self._clock.callLater(0, holder.end, why)
            raise NotAllowed(why)
        assert now is not None
        holder.token = now
        return now

    async def round(self) -> None:
        """Check those that may have changed. See L{Rounds}."""
        if not self._doubted:
            return
        # What changes from now on may be newer than the answers, and is asked for again.
        ids, self._doubted = self._doubted & {holder.token.id for holder in self._holders}, set()
        try:
            found: dict[str, Token | None] = dict(await self._store.find_tokens(ids))
            for token_id in ids - found.keys():
                # Not there: revoked, or lost with what a store lost, which only this question tells apart.
                found[token_id] = await self._store.token(token_id)
        except BaseException:
            self._doubted |= ids
            raise
        for holder in list(self._holders):
            if holder.token.id in found:
                now = found[holder.token.id]
                why = refusal(holder.token, now)
                if why:
                    self._doubted.add(holder.token.id)  # until it is gone
                    holder.end(why)
                elif now is not None:
                    holder.token = now
