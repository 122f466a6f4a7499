"""Cookies of a request (RFC 6265 section 4.2). No I/O."""

from __future__ import annotations

from collections.abc import Callable

from burrow.http.headers import Fields, Headers


def cookie_of(headers: Headers, name: bytes) -> bytes | None:
    """The value of a cookie; of two with one name the first. None if there is none."""
    for value in headers.get(b"cookie", ()):
        for pair in value.split(b";"):
            key, _, found = pair.strip().partition(b"=")
            if key == name:
                return found
    return None


def without_cookies(fields: Fields, ours: Callable[[bytes], bool]) -> Fields:
    """
    A request's fields without some cookies; a Cookie field in which no other is left is gone.

    @param ours: whether a cookie of this name is left out.
    """
    kept: Fields = []
    for name, value in fields:
        if name.lower() == b"cookie":
            pairs = [pair.strip() for pair in value.split(b";")]
            left = [pair for pair in pairs if pair and not ours(pair.partition(b"=")[0])]
            if len(left) < len(pairs):
                value = b"; ".join(left)
                if not value:
                    continue
        kept.append((name, value))
    return kept
