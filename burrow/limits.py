"""The limits of one token."""

from __future__ import annotations

import attr


@attr.frozen
class Limits:
    """
    How much one token may have at most; None means no limit.

    @ivar names: reserved names. @ivar ports: reserved public ports.
    @ivar tunnels: open tunnels. @ivar sessions: sessions of its agents.
    """

    names: int | None = None
    ports: int | None = None
    tunnels: int | None = None
    sessions: int | None = None


UNLIMITED = Limits()
