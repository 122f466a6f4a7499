"""Which visitors a tunnel is for, by their addresses. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from burrow.policy.base import Answer, Visit


class Addresses:
    """The rule. @param admits: whether an address may visit."""

    __slots__ = ("_admits",)

    def __init__(self, admits: Callable[[str], bool]) -> None:
        self._admits = admits

    def visit(self, visit: Visit) -> Answer | None:
        """See L{IRule<burrow.policy.base.IRule>}."""
        if self._admits(visit.address):
            return None
        text = f"The owner of {visit.request.host} lets some networks in, and yours is none of them."
        return Answer(403, "address-refused", "Your address is not let in", text)
