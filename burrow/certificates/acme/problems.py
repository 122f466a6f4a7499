"""
The ways in which a CA fails. Kept apart from the client, which loads treq and josepy: limits and messages
need these classes alone.
"""

from __future__ import annotations

from typing import Any

from burrow.errors import BurrowError

URN = "urn:ietf:params:acme:error:"
"""What the types of ACME's problems begin with."""

_MAX_SUBPROBLEMS = 20


class AcmeProblem(BurrowError):
    """
    The CA refused a request (RFC 8555 section 6.7, RFC 7807).

    @ivar kind: the problem's type, without L{URN}. @ivar until: for "rateLimited", when the CA may be asked
    again, in seconds since the epoch; None if it does not say. @ivar names: the identifiers that the problem
    is about, as far as the CA says (section 6.7.1).
    """

    def __init__(
        self, kind: str, detail: str, until: float | None = None, names: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(detail or kind)
        self.kind = kind
        self.until = until
        self.names = names


class OrderInvalid(AcmeProblem):
    """The CA made a finalized order invalid: it issues nothing."""


class AcmeUnreachable(BurrowError):
    """The CA does not answer, or its answer is not ACME."""


def problem_of(
    fields: dict[str, Any], until: float | None = None, kind_of: type[AcmeProblem] = AcmeProblem
) -> AcmeProblem:
    """A problem document as an error. @param kind_of: the class of the error."""
    kind = str(fields.get("type", "")).removeprefix(URN)
    detail = str(fields.get("detail", ""))[:500]
    subproblems = fields.get("subproblems")
    about = [fields]
    for sub in subproblems[:_MAX_SUBPROBLEMS] if isinstance(subproblems, list) else []:
        if isinstance(sub, dict):
            about.append(sub)
            if sub.get("detail"):
                detail += f" ({str(sub['detail'])[:200]})"
    identifiers = [one["identifier"] for one in about if isinstance(one.get("identifier"), dict)]
    names = frozenset(str(one.get("value", "")).lower() for one in identifiers)
    return kind_of(kind, detail, until, names)
