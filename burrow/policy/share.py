"""
Links that let in whoever has them, until they expire. No I/O.

The agent's machine has an Ed25519 key (RFC 8032) and signs links by it; the server is told the public half
alone, and can make none. What is signed is the tunnel's host and the time at which the link ends. A visitor
who comes by a link gets the same as a cookie, and is sent on to the same place without it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from burrow.policy.base import Answer, Visit
from burrow.policy.cookies import cookie, from_elsewhere, set_cookie
from burrow.policy.doors import Door, Verdict, kept_as_it_is, see_other
from burrow.policy.hashed import Known, decoded, encoded

PARAMETER = b"burrow-key"
"""Of a link's query. The log masks it: its name says that it is a key."""

_TIME = struct.Struct(">Q")
_LENGTH = 96
"""Characters of 8 bytes of time and 64 of signature, in base64url."""


def _message(host: str, until: bytes) -> bytes:
    return b"burrow share link\0" + host.encode() + b"\0" + until


@dataclass(frozen=True, slots=True)
class ShareKey:
    """A value of C{--share-key}: the public half, raw."""

    raw: bytes

    def __str__(self) -> str:
        return encoded(self.raw)


def parse_share_key(text: str) -> ShareKey:
    """The public half, in base64url."""
    try:
        raw = decoded(text)
        Ed25519PublicKey.from_public_bytes(raw)
    except ValueError:
        raise ValueError(
            "write 43 characters of base64url, as `burrow share --show-key` prints them"
        ) from None
    return ShareKey(raw)


def public_half(key: Ed25519PrivateKey) -> ShareKey:
    """What a server is told."""
    return ShareKey(key.public_key().public_bytes_raw())


def share_link(key: Ed25519PrivateKey, url: str, until: float) -> str:
    """
    A link.

    @param url: what to show: of the tunnel's host, perhaps with a path and a query.
    @param until: when it ends, in seconds since the epoch.
    """
    parts = urlsplit(url)
    stamp = _TIME.pack(int(until))
    token = encoded(stamp + key.sign(_message(parts.hostname or "", stamp)))
    query = f"{parts.query}&" if parts.query else ""
    return parts._replace(path=parts.path or "/", query=f"{query}{PARAMETER.decode()}={token}").geturl()


class ShareLinks(Door):
    """The door. @param key: by which links are signed."""

    cookie = b"share"
    wanted = "Ask its owner for a link."

    def __init__(self, key: ShareKey) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(key.raw)
        self._known = Known()

    def check(self, visit: Visit) -> Verdict:
        """See L{Door}."""
        target, token = _cut(visit.request.target)
        if token is None:
            held = cookie(visit, self.cookie)
            if not held or from_elsewhere(visit):
                return None
            return kept_as_it_is if self._ends(visit, held) is not None else None
        ends = self._ends(visit, token)
        if ends is None:
            text = "The link has expired, or is not complete. Ask whoever gave it to you for a new one."
            return Answer(403, "link-expired", "This link does not open anything now", text)
        if visit.request.method in (b"GET", b"HEAD") and not visit.request.upgrade:
            seconds = max(1, int(ends - visit.means.now()))
            location = b"/" + target.lstrip(b"/\\")  # with two slashes it would be another host's
            fields = [set_cookie(visit, self.cookie, token, seconds), (b"Referrer-Policy", b"no-referrer")]
            return see_other(location, fields)
        visit.target = target
        return kept_as_it_is

    def _ends(self, visit: Visit, token: bytes) -> float | None:
        """When a link ends that opens this tunnel now; None for any other text."""
        if len(token) != _LENGTH:
            return None
        try:
            raw = decoded(token.decode("ascii"))
        except ValueError:
            return None
        stamp = raw[: _TIME.size]
        ends: int = _TIME.unpack(stamp)[0]
        if ends <= visit.means.now():
            return None
        message = _message(visit.request.host, stamp)
        signed = raw + message
        if signed not in self._known:
            try:
                self._key.verify(raw[_TIME.size :], message)
            except InvalidSignature:
                return None
            self._known.add(signed)
        return ends


def masked(target: bytes) -> bytes:
    """A target as others may see it: without what would let them in."""
    path, mark, query = target.partition(b"?")
    if PARAMETER not in query:
        return target
    parts = (PARAMETER + b"=***" if part.startswith(PARAMETER) else part for part in query.split(b"&"))
    return path + mark + b"&".join(parts)


def _cut(target: bytes) -> tuple[bytes, bytes | None]:
    """A target without the link's parameter, and that one's value; None without one."""
    path, mark, query = target.partition(b"?")
    if PARAMETER not in query:
        return target, None
    token, others = None, []
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if name == PARAMETER:
            token = value
        else:
            others.append(part)
    return path + (mark + b"&".join(others) if others else b""), token
