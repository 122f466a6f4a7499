"""Everything that is measured, a file each."""

from bench.subjects.bare import Bare
from bench.subjects.base import Setup, Subject, Visit
from bench.subjects.burrow import Burrow, ServedBurrow, WatchedBurrow, other_checkout
from bench.subjects.chisel import Chisel
from bench.subjects.direct import Direct
from bench.subjects.frp import Frp, FrpWebSocket
from bench.subjects.nginx import Nginx
from bench.subjects.piko import Piko
from bench.subjects.rathole import Rathole
from bench.subjects.ssh import Ssh

ALL: tuple[type[Subject], ...] = (
    Burrow,
    WatchedBurrow,
    ServedBurrow,
    Nginx,
    Direct,
    Bare,
    Ssh,
    Frp,
    FrpWebSocket,
    Chisel,
    Piko,
    Rathole,
)
"""In the order of the table's columns."""

__all__ = ["ALL", "Burrow", "Direct", "Setup", "Subject", "Visit", "other_checkout"]
