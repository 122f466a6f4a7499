"""What one frame of the screen shows. L{burrow.client.screen.view} draws it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from burrow.client.screen.rows import Row


class State(Enum):
    """What the word at the top says."""

    CONNECTING = "connecting"
    OPENING = "opening"
    ONLINE = "online"
    OFFLINE = "offline"
    STOPPING = "stopping"


class Overlay(Enum):
    """What is shown in the place of the requests."""

    NONE = ""
    HELP = "help"
    QR = "qr"


@dataclass(frozen=True)
class TunnelLine:
    """
    A tunnel.

    @ivar url: empty while the server has not said one. @ivar name: what was asked for, or what it has.
    @ivar upstream: as text. @ivar note: why it is not open, or what is done about it. @ivar warning: what is
        wrong with its upstream. @ivar selected: whether keys mean this one.
    """

    name: str
    url: str
    upstream: str
    note: str = ""
    warning: str = ""
    selected: bool = False


@dataclass(frozen=True)
class Scene:
    """
    One frame.

    @ivar server: its URL. @ivar server_version: empty if unknown. @ivar token: its name; empty if unknown.
    @ivar round_trip: in seconds; None if unknown. @ivar trouble: one sentence that says what is wrong and
        what is done about it; empty if nothing is. @ivar message: something else to be told: a notice, an
        answer to a key. @ivar note: what stays to be read. @ivar inspector: its URL; empty if there is none.
    @ivar counts: what kinds count of their own, a line for each kind.
    @ivar rows: at least those that fit, the newest first. @ivar matching: how many rows match the filter.
    @ivar first: how many of them are above the first that is shown. @ivar frozen: whether the list stands
        still. @ivar hidden: how many came since.
    @ivar typed: the filter that is being typed; None if none is. @ivar complaint: what is wrong with it.
    """

    state: State
    server: str = ""
    version: str = ""
    server_version: str = ""
    token: str = ""
    round_trip: float | None = None
    tunnels: list[TunnelLine] = field(default_factory=list)
    trouble: str = ""
    message: str = ""
    note: str = ""
    inspector: str = ""
    count: int = 0
    failed: int = 0
    under_way: int = 0
    connections: int = 0
    received: int = 0
    sent: int = 0
    counts: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    matching: int = 0
    first: int = 0
    frozen: bool = False
    hidden: int = 0
    filter: str = ""
    typed: str | None = None
    complaint: str = ""
    overlay: Overlay = Overlay.NONE
