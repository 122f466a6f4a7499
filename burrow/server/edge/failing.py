"""An agent's answer that says why the upstream did not answer: it becomes a page of ours."""

from __future__ import annotations

from burrow.http.failure import FAILURE_HEADER
from burrow.http.response_head import ResponseHead
from burrow.server.edge import pages

FAILURE_FIELD = FAILURE_HEADER.lower()
"""The field's name, as L{Headers<burrow.http.headers.Headers>} has it."""

_MAX_TEXT = 4096
"""Bytes of an agent's text, at most; the rest is dropped."""


class Failing:
    """One such answer. @ivar code: what failed, for programs."""

    def __init__(self, code: bytes) -> None:
        self.code = code.decode("latin-1")
        self._text = bytearray()

    @classmethod
    def of(cls, head: ResponseHead) -> Failing | None:
        """The failure that an answer's head begins; None for an upstream's answer."""
        code = head.headers.value(FAILURE_FIELD)
        return cls(code) if code else None

    def add(self, data: bytes) -> None:
        """Bytes of the text."""
        self._text += data[: _MAX_TEXT - len(self._text)]

    def page(self, host: str) -> pages.Page:
        """What the visitor is shown. @param host: what it asked for."""
        if self.code == pages.AGENT_AWAY:
            # Another node says so: the agent left it, and connected to no other.
            return pages.agent_away(host)
        return pages.upstream_failed(self.code, self._text.decode("utf-8", "replace"))
