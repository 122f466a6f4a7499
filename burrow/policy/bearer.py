"""Bearer tokens (RFC 6750). No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from burrow.policy.base import Visit
from burrow.policy.cookies import without
from burrow.policy.doors import Door, Verdict
from burrow.policy.hashed import LONGEST, Secret


def bearer(visit: Visit) -> bytes:
    """The token that a request shows; empty without one."""
    given = visit.request.headers.get(b"authorization", ())
    if len(given) != 1 or given[0][:7].lower() != b"bearer ":
        return b""
    return given[0][7:].strip()


class BearerTokens(Door):
    """The door. @param tokens: those that let in."""

    challenge = b'Bearer realm="Burrow"'
    wanted = "Send a token in Authorization: Bearer."

    def __init__(self, tokens: Iterable[Secret]) -> None:
        self._tokens = tuple(tokens)

    def check(self, visit: Visit) -> Verdict:
        """See L{Door}."""
        token = bearer(visit)
        if not 0 < len(token) <= LONGEST:
            return None
        found = False
        for known in self._tokens:  # all of them, however early one matches
            found |= known.matches(token)
        return without(b"authorization") if found else None
