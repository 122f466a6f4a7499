"""
How a CA fails us. Apart from the client, which loads treq and acme: limits and messages need these alone.
"""

from __future__ import annotations

from burrow.errors import BurrowError


class AcmeProblem(BurrowError):
    """
    The CA says no (RFC 8555 section 6.7, RFC 7807).

    @ivar kind: the problem's type, without the URN's beginning. @ivar until: for "rateLimited", when to come
    again, in seconds since the epoch, if the CA says. @ivar names: the identifiers that it is about, if the
    CA says (section 6.7.1).
    """

    def __init__(
        self, kind: str, detail: str, until: float | None = None, names: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(detail or kind)
        self.kind = kind
        self.until = until
        self.names = names


class AcmeUnreachable(BurrowError):
    """The CA does not answer, or not as one."""
