"""What one token may have at most."""

from __future__ import annotations

import attr


@attr.frozen
class Limits:
    """
    How much one token may have at most; None: without a limit.

    @ivar names: names that it owns. @ivar ports: public ports that it owns.
    @ivar tunnels: tunnels that it has open. @ivar sessions: sessions of agents that use it.
    """

    names: int | None = None
    ports: int | None = None
    tunnels: int | None = None
    sessions: int | None = None


UNLIMITED = Limits()
