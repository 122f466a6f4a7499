"""Several upstreams behind one name, told apart by path. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from burrow.policy.base import Visit


def prefix_of(target: bytes, prefixes: Iterable[bytes]) -> bytes:
    """
    The longest of some paths under which a request's target is; empty for none.

    The edge and the agent both ask this, of the target that the upstream gets: they must agree.
    """
    path = target.partition(b"?")[0]
    longest = b""
    for prefix in prefixes:
        under = path == prefix or path.startswith(prefix.rstrip(b"/") + b"/")
        if under and len(prefix) > len(longest):
            longest = prefix
    return longest


class RouteByPath:
    """The rule, asked last: a request for another upstream than the one before needs its own stream."""

    __slots__ = ("_prefixes",)

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._prefixes = tuple(prefix.encode() for prefix in prefixes)

    def visit(self, visit: Visit) -> None:
        """See L{IRule<burrow.policy.base.IRule>}."""
        visit.part = prefix_of(visit.target, self._prefixes)
