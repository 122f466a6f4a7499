"""
How senders of webhooks sign: each scheme as its sender documents it. No I/O.

A scheme says of a request with its body whether the signature in its fields is right, in constant time. Those
that sign a time are held to it within L{TOLERANCE}, so that what was overheard cannot be sent again later.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from burrow.http.head import TOKEN
from burrow.http.headers import Headers

TOLERANCE = 300.0
"""Seconds by which a signed time may differ from ours."""

_MAX_FIELDS = 1000
"""Fields of a signed form, at most."""


@dataclass(frozen=True, slots=True)
class Signed:
    """
    A request as its sender signed it.

    @ivar url: the public URL, with the query. @ivar now: seconds since the epoch.
    """

    headers: Headers
    url: bytes
    body: bytes
    now: float


def _hex(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, "sha256").hexdigest().encode()


def _base64(key: bytes, message: bytes, digest: str = "sha256") -> bytes:
    return b64encode(hmac.digest(key, message, digest))


def _equal(one: bytes, other: bytes) -> bool:
    return hmac.compare_digest(one, other)


def _recent(stamp: bytes, now: float) -> bool:
    """Whether a time in seconds since the epoch is near."""
    return stamp.isdigit() and len(stamp) < 15 and abs(now - int(stamp)) <= TOLERANCE


def _github(key: bytes, asked: Signed) -> bool:
    given = asked.headers.value(b"x-hub-signature-256")
    return _equal(given, b"sha256=" + _hex(key, asked.body))


def _stripe(key: bytes, asked: Signed) -> bool:
    parts = [part.strip().partition(b"=") for part in asked.headers.value(b"stripe-signature").split(b",")]
    stamps = [value for name, _, value in parts if name == b"t"]
    if len(stamps) != 1 or not _recent(stamps[0], asked.now):
        return False
    wanted, found = _hex(key, stamps[0] + b"." + asked.body), False
    for name, _, value in parts[:20]:
        found |= name == b"v1" and _equal(value, wanted)
    return found


def _slack(key: bytes, asked: Signed) -> bool:
    stamp = asked.headers.value(b"x-slack-request-timestamp")
    wanted = b"v0=" + _hex(key, b"v0:" + stamp + b":" + asked.body)
    return _equal(asked.headers.value(b"x-slack-signature"), wanted) and _recent(stamp, asked.now)


def _shopify(key: bytes, asked: Signed) -> bool:
    return _equal(asked.headers.value(b"x-shopify-hmac-sha256"), _base64(key, asked.body))


def _standard(key: bytes, asked: Signed) -> bool:
    """Standard Webhooks 1.0.0, and Svix, whose fields have another prefix."""
    prefix = b"webhook-" if b"webhook-id" in asked.headers else b"svix-"
    name, stamp, given = (asked.headers.value(prefix + one) for one in (b"id", b"timestamp", b"signature"))
    if not name or not _recent(stamp, asked.now):
        return False
    wanted, found = b"v1," + _base64(key, b".".join((name, stamp, asked.body))), False
    for one in given.split()[:20]:
        found |= _equal(one, wanted)
    return found


def _twilio(key: bytes, asked: Signed) -> bool:
    """Of a form its fields are signed behind the URL; of any other body its SHA-256, in the URL."""
    kind = asked.headers.value(b"content-type").split(b";")[0].strip().lower()
    message = asked.url
    if kind == b"application/x-www-form-urlencoded":
        if asked.body.count(b"&") >= _MAX_FIELDS:
            return False
        pairs = parse_qsl(asked.body.decode("latin-1"), keep_blank_values=True, encoding="utf-8")
        message += "".join(name + value for name, value in sorted(set(pairs))).encode()
    else:
        found = re.search(rb"[?&]bodySHA256=([0-9a-fA-F]{64})(?:&|$)", asked.url)
        if found is None and asked.body:
            return False
        digest = hashlib.sha256(asked.body).hexdigest().encode()
        if found is not None and not _equal(found[1].lower(), digest):
            return False
    return _equal(asked.headers.value(b"x-twilio-signature"), _base64(key, message, "sha1"))


def _generic(name: bytes) -> Callable[[bytes, Signed], bool]:
    """HMAC-SHA256 of the body, in hexadecimal or base64, perhaps with C{sha256=} before it."""

    def check(key: bytes, asked: Signed) -> bool:
        given = asked.headers.value(name)
        given = given[7:] if given[:7].lower() == b"sha256=" else given
        in_hex = _equal(given.lower(), _hex(key, asked.body))
        return in_hex | _equal(given, _base64(key, asked.body))

    return check


_SCHEMES: dict[str, tuple[tuple[bytes, ...], Callable[[bytes, Signed], bool]]] = {
    "github": ((b"x-hub-signature-256",), _github),
    "stripe": ((b"stripe-signature",), _stripe),
    "slack": ((b"x-slack-signature",), _slack),
    "shopify": ((b"x-shopify-hmac-sha256",), _shopify),
    "standard": ((b"webhook-signature", b"svix-signature"), _standard),
    "svix": ((b"webhook-signature", b"svix-signature"), _standard),
    "twilio": ((b"x-twilio-signature",), _twilio),
}
"""By name: the fields one of which has the signature, and what checks it."""

SENDERS = (*_SCHEMES, "hmac:HEADER")
_HEADER = re.compile(TOKEN)


@dataclass(frozen=True, slots=True)
class Signature:
    """
    A value of C{--verify}.

    @ivar sender: the scheme's name. @ivar secret: what both sides know; the server has to know it, too.
    """

    sender: str
    secret: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.sender}={self.secret}"

    @property
    def _scheme(self) -> tuple[tuple[bytes, ...], Callable[[bytes, Signed], bool]]:
        if self.sender in _SCHEMES:
            return _SCHEMES[self.sender]
        name = self.sender.partition(":")[2].lower().encode()
        return (name,), _generic(name)

    def claimed(self, headers: Headers) -> bool:
        """Whether a request has a signature of this scheme, right or wrong."""
        return any(len(headers.get(name, ())) == 1 for name in self._scheme[0])

    def right(self, asked: Signed) -> bool:
        """Whether it is right."""
        key = self.secret.encode()
        if self.sender in ("standard", "svix"):
            key = b64decode(self.secret.removeprefix("whsec_"))
        return self._scheme[1](key, asked)


def parse_signature(text: str) -> Signature:
    """C{SENDER=SECRET}."""
    sender, equals, secret = text.partition("=")
    header = sender.partition(":")[2]
    generic = sender.startswith("hmac:") and _HEADER.fullmatch(header.encode("latin-1", "replace"))
    if not equals or not (sender in _SCHEMES or generic):
        raise ValueError(f"write SENDER=SECRET, SENDER being one of {', '.join(SENDERS)}")
    if not 0 < len(secret) <= 256:
        raise ValueError("write the secret behind the sender, up to 256 characters, as in github=SECRET")
    if sender in ("standard", "svix"):
        try:
            if not b64decode(secret.removeprefix("whsec_"), validate=True):
                raise ValueError
        except (binascii.Error, ValueError):
            raise ValueError("write its secret as its sender shows it: whsec_ and base64") from None
    return Signature(sender, secret)
