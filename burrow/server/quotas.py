"""Limits how many tunnels each agent and each token has open, or is opening."""

from __future__ import annotations

from collections import Counter

from burrow.errors import TooManyTunnels
from burrow.limits import Limits
from burrow.mux.session import Session
from burrow.server.nodes.cluster import Cluster
from burrow.wording import count_of


class Quotas:
    """
    @param cluster: knows what the tokens have open on other nodes.
    @param max_tunnels: how many tunnels one agent may have open.
    """

    def __init__(self, cluster: Cluster, max_tunnels: int) -> None:
        self._cluster = cluster
        self._max_tunnels = max_tunnels
        self._of_session: Counter[Session] = Counter()
        self._of_token: dict[str, Counter[str]] = {}

    def add(self, session: Session) -> None:
        """Count one more tunnel of an agent. @raise TooManyTunnels: it is at its limit."""
        count = self._of_session[session]
        if count >= self._max_tunnels:
            raise TooManyTunnels(
                f"this agent has {count_of(count, 'tunnel')} open, which is its limit: close one"
            )
        self._of_session[session] = count + 1

    def remove(self, session: Session) -> None:
        """One of an agent's tunnels is closed, was not opened, or has moved to another agent."""
        self._of_session[session] -= 1
        if self._of_session[session] <= 0:
            del self._of_session[session]

    def add_name(self, token: str, name: str, limits: Limits) -> None:
        """
        Count a name that a token has open or is opening. A name counts once, even if several sessions open
        it.

        @param token: the token's id. @raise TooManyTunnels: it is at its limit, counting all nodes.
        """
        ours = self._of_token.get(token, Counter())
        if limits.tunnels is not None and name not in ours:
            theirs = self._cluster.names_elsewhere(token)
            # They are gone through only near the limit: thousands may come over from a node that died.
            if len(ours) + len(theirs) >= limits.tunnels and (
                len(ours) + sum(other != name and other not in ours for other in theirs) >= limits.tunnels
            ):
                raise TooManyTunnels(
                    f"the token has {count_of(limits.tunnels, 'tunnel')} open, which is its limit: close "
                    "one, or ask the server's owner to allow more with `burrow token set`"
                )
        ours[name] += 1
        self._of_token[token] = ours

    def remove_name(self, token: str, name: str) -> None:
        """A name that L{add_name} counted is closed, or was not opened."""
        ours = self._of_token[token]
        ours[name] -= 1
        if not ours[name]:
            del ours[name]
        if not ours:
            del self._of_token[token]
