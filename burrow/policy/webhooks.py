"""Webhooks, whose senders sign them. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred

from burrow.policy.base import Visit
from burrow.policy.cookies import without
from burrow.policy.doors import Door, Verdict, kept_as_it_is
from burrow.policy.limits import too_large
from burrow.policy.signatures import Signature, Signed

MAX_BODY = 1024 * 1024
"""Bytes of a signed body, at most: it is read whole before the upstream gets any of it."""


class Webhooks(Door):
    """The door. @param signatures: one of which has to be right."""

    wanted = "Sign the request as its receiver expects it."

    def __init__(self, signatures: Iterable[Signature]) -> None:
        self._signatures = tuple(signatures)

    def check(self, visit: Visit) -> Verdict | Deferred[Verdict]:
        """See L{Door}. The body of who claims no signature is not read."""
        claimed = [one for one in self._signatures if one.claimed(visit.request.headers)]
        if not claimed:
            return None
        return visit.read_body(MAX_BODY).addCallback(self._read, visit, claimed)

    def _read(self, body: bytes | None, visit: Visit, claimed: list[Signature]) -> Verdict:
        if body is None:
            return too_large(MAX_BODY)
        visit.on_request.append(without(b"expect"))  # the edge has answered that
        request = visit.request
        asked = Signed(request.headers, visit.origin + request.target, body, visit.means.now())
        right = False
        for one in claimed:
            right |= one.right(asked)
        # The upstream may check the signature again, so it keeps it.
        return kept_as_it_is if right else None
