"""The tunnels that an agent keeps open, whatever the session: what was asked for, and what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from burrow.client.tunnels import TunnelRequest
from burrow.errors import Refused


class Wanted:
    """
    A tunnel that the agent is to keep open.

    @ivar tunnel: the server's id of it; empty until it was open once.
    @ivar open: whether it is open on the present session.
    @ivar refusal: why it was given up on the present session; None if it was not.
    @ivar dropped: whether it is wanted no more.
    @ivar replaces: an open tunnel of the same name, which is closed when this one is open or given up.
    """

    def __init__(self, request: TunnelRequest) -> None:
        self.request = request
        self.tunnel = ""
        self.open = False
        self.refusal: Refused | None = None
        self.dropped = False
        self.replaces: Wanted | None = None

    @property
    def been_open(self) -> bool:
        """Whether it was open, on this session or one before."""
        return bool(self.tunnel)


@dataclass(frozen=True)
class Opened:
    """
    A tunnel that is open.

    @ivar request: what was asked for. @ivar name: its label. @ivar url: where visitors reach it.
    """

    request: TunnelRequest
    name: str
    url: str


class WantedTunnels:
    """
    All tunnels that one agent is to keep open.

    @ivar all: in the order of the configuration.
    """

    def __init__(self, requests: Sequence[TunnelRequest]) -> None:
        self.all = [Wanted(request) for request in requests]

    def change(self, requests: Sequence[TunnelRequest]) -> tuple[list[Wanted], list[Wanted]]:
        """
        Want these from now on. Those that are the same as before are kept as they are.

        @return: those that are new, and those of before that are wanted no more.
        """
        gone, now, added = list(self.all), [], []
        for request in requests:
            wanted = next((one for one in gone if one.request == request), None)
            if wanted is not None:
                gone.remove(wanted)
            else:
                wanted = Wanted(request)
                added.append(wanted)
            now.append(wanted)
        self.all = now
        return added, gone

    def remove_open(self, tunnel: str) -> None:
        """Want an open tunnel no more: it belongs to somebody else now."""
        self.all = [one for one in self.all if not (one.open and one.tunnel == tunnel)]

    def is_open(self, tunnel: str) -> bool:
        """Whether one that is wanted is open as C{tunnel}: several may ask for the same."""
        return any(one.open and one.tunnel == tunnel for one in self.all)
