"""Errors of the inspector's API, as problem details (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from burrow.errors import BurrowError


class Problem(BurrowError):
    """
    An answer that is an error.

    @ivar status: the HTTP status. The text is a sentence for people that says what to do.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status

    @property
    def body(self) -> dict[str, Any]:
        """The members of the problem's object."""
        title = "Content Too Large" if self.status == 413 else HTTPStatus(self.status).phrase
        return {"type": "about:blank", "title": title, "status": self.status, "detail": str(self)}
