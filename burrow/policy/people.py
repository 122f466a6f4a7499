"""Whom a sign-in lets in: by e-mail address, domain, group or id. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_EMAIL = re.compile(r"[^@\s,]+@[A-Za-z0-9.-]+")
_DOMAIN = re.compile(r"@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


@dataclass(frozen=True, slots=True)
class Allowed:
    """
    A value of C{--oidc-allow}.

    @ivar what: "email", "domain", "group", "sub" or "any". @ivar value: of which one.
    """

    what: str
    value: str = ""

    def __str__(self) -> str:
        return {"any": "*", "email": self.value, "domain": f"@{self.value}"}.get(
            self.what, f"{self.what}:{self.value}"
        )

    def has(self, claims: dict[str, Any]) -> bool:
        """
        Whether somebody is among them.

        An e-mail address counts only if the provider says that it has verified it: else anybody could give
        somebody else's as theirs.
        """
        if self.what == "any":
            return True
        if self.what == "sub":
            return bool(claims.get("sub") == self.value)
        if self.what == "group":
            groups = claims.get("groups")
            return isinstance(groups, list) and self.value in groups
        email = claims.get("email")
        if not isinstance(email, str) or claims.get("email_verified") not in (True, "true"):
            return False
        email = email.lower()
        return email == self.value if self.what == "email" else email.rpartition("@")[2] == self.value


def parse_allowed(text: str) -> Allowed:
    """C{NAME@DOMAIN}, C{@DOMAIN}, C{group:NAME}, C{sub:ID} or C{*}."""
    kind, colon, value = text.partition(":")
    if text == "*":
        return Allowed("any")
    if colon and kind in ("group", "sub") and value and value.isprintable():
        return Allowed(kind, value)
    if _DOMAIN.fullmatch(text):
        return Allowed("domain", text[1:].lower())
    if _EMAIL.fullmatch(text):
        return Allowed("email", text.lower())
    raise ValueError(
        "write an e-mail address, @DOMAIN, group:NAME, sub:ID, or * for whoever can sign in there"
    )
