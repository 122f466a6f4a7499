"""
What the parent and a worker tell each other, and by which file descriptors.

The parent tells a worker in the environment variable L{INHERITED} which sockets it inherits. When the worker
serves it writes one JSON line, C{{"ready": true, "say": [lines]}}, on L{READY_FD}; the parent prints the
lines. SIGHUP tells the worker to drain. L{ALIVE_FD} ends when the parent has died: then the worker exits.

On L{KEEPER_FD}, a datagram socket, the worker sends a copy of each socket of a public TCP port that it opens:
the port in decimal digits, with the descriptor (SCM_RIGHTS). When no tunnel has the port any more, it sends
the port alone.

After a reload the parent may be of an older release than its workers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass

INHERITED = "BURROW_INHERITED"
"""The environment variable that makes a C{burrow server} a worker."""

READY_FD, ALIVE_FD, KEEPER_FD = 3, 4, 5

READY_TIMEOUT = 60.0
"""Seconds within which a worker must serve."""


@dataclass(frozen=True)
class Inherited:
    """
    What a worker inherits.

    @ivar group: an id that all processes of one C{burrow server} share.
    @ivar ports: the file descriptors of the main ports' listening sockets, by "https", "http" and "admin".
    @ivar tcp: the file descriptors of the public TCP ports' listening sockets, by port.
    """

    group: str
    ports: Mapping[str, Sequence[int]]
    tcp: Mapping[int, int]

    def variable(self) -> dict[str, str]:
        """The environment variable that tells a worker of it."""
        return {INHERITED: json.dumps(asdict(self))}

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Inherited | None:
        """Read the variable and remove it, so that no child of this process finds it. None: no worker."""
        text = environ.pop(INHERITED, None)
        if text is None:
            return None
        told = json.loads(text)
        return cls(told["group"], told["ports"], {int(port): number for port, number in told["tcp"].items()})


def ready_line(say: Sequence[str]) -> bytes:
    """The line of a worker that serves. C{say}: the lines that the parent prints."""
    return json.dumps({"ready": True, "say": say}).encode() + b"\n"


def lines_to_say(line: bytes) -> list[str]:
    """The lines in a L{ready_line}."""
    lines: list[str] = json.loads(line)["say"]
    return lines
