"""
Mutual TLS: the door for who shows a certificate of a CA that the tunnel believes. No I/O.

The server asks for one in the handshake for the tunnel's host alone, and lets everybody complete it; who
comes without one, or with a wrong one, is told so by a page. What was shown counts for the host that the
handshake was for: a request for another host on the same connection is sent to a connection of its own.
"""

from __future__ import annotations

from burrow.policy.base import Answer, Visit
from burrow.policy.client_ca import ClientCAs, identity
from burrow.policy.doors import Door, Verdict, kept_as_it_is

_WANTED = "Show a certificate, in TLS, that is signed by this tunnel's CA."


def _misdirected(host: str) -> Answer:
    text = (
        f"{host} is for visitors with a certificate, and this connection was not made for it: open one for "
        f"{host}."
    )
    # HTTP/2 has no Connection field, and clients open a connection of their own there (RFC 9110, 15.5.20).
    return Answer(421, "misdirected", "This request came over the wrong connection", text)


class ClientCertificates(Door):
    """The door, to be asked last. @param cas: whose certificates let in."""

    def __init__(self, cas: ClientCAs) -> None:
        self._cas = cas

    def check(self, visit: Visit) -> Verdict:
        """See L{Door}."""
        shown = visit.shown
        if shown is None:
            return None  # no TLS, or a proxy's
        if shown.name != visit.request.host or not shown.asked:
            return _misdirected(visit.request.host)
        presented = shown.presented()
        if presented is None or self._cas.judge(presented, visit.means.now()):
            return None
        visit.identity += identity(presented.leaf)
        return kept_as_it_is

    def wants(self, visit: Visit) -> str:
        """See L{Door}: what is wrong with what was shown."""
        shown = visit.shown
        if shown is None:
            return f"{_WANTED} This request came without TLS, or by a proxy that ended it."
        presented = shown.presented()
        if presented is None:
            return _WANTED
        return f"{_WANTED} Of the one that was shown: {self._cas.judge(presented, visit.means.now())}."
