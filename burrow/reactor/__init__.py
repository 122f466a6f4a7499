"""
The reactor that C{burrow} installs on Linux: Twisted's on epoll, with less between an event and its protocol,
and TCP transports that send at the end of the turn, without asking epoll first. Elsewhere Twisted's default
serves.

Under C{twistd}, whose reactor is there before its plugins are, it is chosen with C{--reactor burrow}.
"""

from __future__ import annotations

import sys


def install() -> None:
    """Install it, if this is Linux and no other is there yet. Else do nothing."""
    if not sys.platform.startswith("linux") or "twisted.internet.reactor" in sys.modules:
        return
    from twisted.internet.main import installReactor

    from burrow.reactor.epoll import BurrowReactor

    installReactor(BurrowReactor())
