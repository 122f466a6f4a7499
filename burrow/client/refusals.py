"""
What an agent does when the server did not open a tunnel.

What becomes of one tunnel::

    asked for ── opened
        │
        ├─ Unavailable (the store is away, the port is busy), or no answer: asked again after 0.5 to 5 s
        ├─ CertificateFailed, TooManyTunnels: asked again after 1 to 15 min
        ├─ any other refusal of one that was open before: likewise; the server changed, and may again
        └─ NameTaken, NotAllowed, and any other refusal of one that never was open: given up

At the first start, when no tunnel was open yet, CertificateFailed and TooManyTunnels are given up, too: a
person waits at the terminal, and has to read the reason.
"""

from __future__ import annotations

from twisted.internet.defer import TimeoutError
from twisted.python.failure import Failure

from burrow.errors import CertificateFailed, NameTaken, NotAllowed, Refused, TooManyTunnels, Unavailable
from burrow.protocols.base import Kind
from burrow.protocols.registry import package_of

SOON_FIRST, SOON_LIMIT = 0.5, 5.0
"""Seconds until a tunnel is asked for again that the server cannot open just now: first, and at most."""

ASK_AGAIN_FIRST, ASK_AGAIN_LIMIT = 60.0, 900.0
"""Likewise after a refusal that takes longer to pass: no certificate, too many tunnels."""

OPEN_TIMEOUT = 60.0
"""Seconds that the server may take to open a tunnel: it may have to get a certificate first."""


def is_permanent(error: Refused, *, been_open: bool, first_start: bool) -> bool:
    """
    Whether a tunnel is given up after C{error}.

    @param been_open: whether this tunnel was open before. @param first_start: whether no tunnel was.
    """
    if isinstance(error, Unavailable):
        return False
    if isinstance(error, (CertificateFailed, TooManyTunnels)):
        return first_start
    return isinstance(error, (NameTaken, NotAllowed)) or not been_open


def passes_soon(failure: Failure) -> bool:
    """Whether the server may open the tunnel within seconds: it is short of something, or did not answer."""
    return bool(failure.check(Unavailable)) or not failure.check(Refused)


def delays(failure: Failure) -> tuple[float, float]:
    """Seconds until the tunnel is asked for again, and the most that they grow to."""
    return (SOON_FIRST, SOON_LIMIT) if passes_soon(failure) else (ASK_AGAIN_FIRST, ASK_AGAIN_LIMIT)


def reason(failure: Failure) -> str:
    """Why a tunnel did not open, for a person."""
    if failure.check(TimeoutError):
        return f"the server did not answer within {OPEN_TIMEOUT:g} seconds"
    return failure.getErrorMessage()


def what_to_install(kind: Kind) -> str:
    """For the end of a server's refusal of a kind that this machine has: what its owner has to do."""
    package = package_of(kind)
    if not package or package.split()[0] == "burrow-tunnel":
        return ""
    return f"; its owner has to install {package} beside Burrow there"
