"""What is counted of one agent that shares a name with others. No I/O."""

from __future__ import annotations

from typing import Any

import attr

REST = 5.0
"""Seconds for which an agent whose service refused a request gets no other, if there is another agent."""


@attr.define(eq=False)
class Share:
    """
    @ivar key: see L{burrow.server.sharing.key_of}. @ivar sticky: whether visitors are to come back to it.
    @ivar fit: whether its health checks, if any, say that it may have visitors.
    @ivar load: requests, and connections that are none, that are open. @ivar turn: when it was chosen last,
        a number that grows. @ivar rests_until: seconds by the clock: see L{REST}.
    """

    key: str
    sticky: bool = False
    fit: bool = True
    load: int = 0
    turn: int = 0
    rests_until: float = float("-inf")


def count_until_lost(share: Share, protocol: Any) -> None:
    """Count a stream's protocol, which is connected, until it is lost."""
    share.load += 1
    lost = protocol.connectionLost

    def connection_lost(reason: Any) -> None:
        share.load -= 1
        lost(reason)

    protocol.connectionLost = connection_lost
