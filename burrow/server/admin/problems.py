"""Errors of the admin API as problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

MEDIA_TYPE = "application/problem+json"

_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}


class Problem(Exception):
    """
    An answer that is an error. It can be raised wherever a request is answered.

    @ivar status: the HTTP status. @ivar detail: a sentence for people that says what to do.
    @ivar headers: further fields of the answer. @ivar more: further members of its body.
    """

    def __init__(
        self, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more

    @property
    def title(self) -> str:
        """The status in words (RFC 9110 section 15; Python has older ones of some)."""
        return _TITLES.get(self.status) or HTTPStatus(self.status).phrase

    @property
    def body(self) -> dict[str, Any]:
        """The members of the problem's object."""
        return {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.more,
        }


def no_token() -> Problem:
    """The request has no token (RFC 6750 section 3)."""
    return Problem(
        401,
        "This needs a token: send it as `Authorization: Bearer TOKEN`. `burrow token create NAME --role "
        "viewer` on the server makes one.",
        {"WWW-Authenticate": 'Bearer realm="burrow"'},
    )


def wrong_token() -> Problem:
    """The token is unknown, revoked, or has another secret now."""
    return Problem(
        401,
        "The token is unknown or revoked: ask the server's owner for another.",
        {"WWW-Authenticate": 'Bearer realm="burrow", error="invalid_token"'},
    )


def needs_role(needed: str, role: str) -> Problem:
    """The token's role is too small. @param needed: the least that is enough."""
    return Problem(
        403,
        f"This needs a token with the role {needed}, and yours has the role {role}: ask the server's owner.",
        {"WWW-Authenticate": f'Bearer realm="burrow", error="insufficient_scope", scope="{needed}"'},
        needed=needed,
    )


def not_found(what: str, list_path: str) -> Problem:
    """There is no such thing, or none that this token may see."""
    return Problem(404, f"There is no such {what} that your token may see: `GET {list_path}` lists them.")


def invalid(field: str, detail: str) -> Problem:
    """A field of the body, or a parameter of the query, has a value that is not possible."""
    return Problem(422, detail, field=field)


def store_away() -> Problem:
    """The store cannot answer now."""
    return Problem(503, "The server's store cannot answer now: try again soon.", {"Retry-After": "2"})
