"""Visitors without TLS led to TLS. No I/O."""

from __future__ import annotations

from burrow.addresses import bracketed
from burrow.policy.base import Answer, Visit


class ToHttps:
    """The rule: who came without TLS is led to the same URL with it, at its usual port."""

    __slots__ = ()

    def visit(self, visit: Visit) -> Answer | None:
        """See L{IRule<burrow.policy.base.IRule>}."""
        request = visit.request
        if visit.scheme == "https" or not request.host:
            return None
        host = bracketed(request.host)
        target = request.target if request.target.startswith(b"/") else b"/"
        place = b"https://" + host.encode() + target
        text = f"What you ask for is at {place.decode('latin-1')}"
        return Answer(308, "redirect", "This is elsewhere", text, [(b"Location", place)])
