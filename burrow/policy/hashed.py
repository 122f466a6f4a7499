"""
Passwords and tokens as they leave the agent: hashed, with a salt. No I/O.

A password can be guessed, so its hash is a slow one, scrypt (RFC 7914): C{$scrypt$LN$SALT$HASH}, N being 2 to
the LN, r 8 and p 1. A token cannot, having L{SHORTEST_TOKEN} characters or more: C{$sha256$SALT$HASH}. Salt
and hash are base64url without padding (RFC 4648 section 5). Agents in other languages send the same.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b64decode, urlsafe_b64encode
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache

COST = 13
"""The LN of hashes that are made here: 8 MiB and some 20 ms each."""

_COSTS = range(10, 16)
"""What a server takes: 32 MiB at most, since any agent may ask for it."""

SHORTEST_TOKEN = 16
LONGEST = 256
"""Characters of a password or a token, at most."""

_SCRYPT = re.compile(r"\$scrypt\$(\d\d)\$([A-Za-z0-9_-]{22,64})\$([A-Za-z0-9_-]{43})")
_SHA256 = re.compile(r"\$sha256\$([A-Za-z0-9_-]{22,64})\$([A-Za-z0-9_-]{43})")


def encoded(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """The reverse of L{encoded}. @raise ValueError: it is none."""
    return b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)


@dataclass(frozen=True, slots=True)
class Hashed:
    """
    What a server knows of a secret.

    @ivar cost: the LN of scrypt; 0 for SHA-256.
    """

    cost: int
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def __str__(self) -> str:
        kind = f"scrypt${self.cost}" if self.cost else "sha256"
        return f"${kind}${encoded(self.salt)}${encoded(self.digest)}"

    def sealed(self, salt: bytes) -> Hashed:
        """See L{Given.sealed}: it is hashed already."""
        return self

    def matches(self, secret: bytes) -> bool:
        """Whether a secret is this one, in constant time. Of a password it takes L{COST}."""
        return hmac.compare_digest(self.digest, _digest(secret, self.salt, self.cost))


@dataclass(frozen=True, slots=True)
class Given:
    """
    A secret as a person gave it: on the agent alone.

    @ivar cost: as of L{Hashed}.
    """

    secret: str = field(repr=False)
    cost: int

    def __str__(self) -> str:
        return "***"

    def sealed(self, salt: bytes) -> Hashed:
        """What leaves the agent. @param salt: one machine's and tunnel's."""
        return _sealed(self.secret.encode(), salt, self.cost)

    def matches(self, secret: bytes) -> bool:
        """As L{Hashed.matches}."""
        return hmac.compare_digest(self.secret.encode(), secret)


Secret = Given | Hashed


def _digest(secret: bytes, salt: bytes, cost: int) -> bytes:
    if not cost:
        return hmac.digest(salt, secret, "sha256")
    return hashlib.scrypt(secret, salt=salt, n=1 << cost, r=8, p=1, maxmem=64 << 20, dklen=32)


@lru_cache(maxsize=64)  # the agent sends them again whenever it connects
def _sealed(secret: bytes, salt: bytes, cost: int) -> Hashed:
    return Hashed(cost, salt, _digest(secret, salt, cost))


def parse_password(text: str) -> Secret:
    """A password, or the hash of one."""
    if text.startswith("$scrypt$"):
        found = _SCRYPT.fullmatch(text)
        if found is None or int(found[1]) not in _COSTS:
            raise ValueError(
                f"write $scrypt$LN$SALT$HASH, with LN from {_COSTS[0]} to {_COSTS[-1]}, or a password"
            )
        return Hashed(int(found[1]), decoded(found[2]), decoded(found[3]))
    if not 0 < len(text) <= LONGEST:
        raise ValueError(f"write a password of up to {LONGEST} characters")
    return Given(text, COST)


def parse_token(text: str) -> Secret:
    """A token, or the hash of one."""
    if text.startswith("$sha256$"):
        found = _SHA256.fullmatch(text)
        if found is None:
            raise ValueError("write $sha256$SALT$HASH, or a token")
        return Hashed(0, decoded(found[1]), decoded(found[2]))
    if not SHORTEST_TOKEN <= len(text) <= LONGEST or not re.fullmatch(r"[!-~]+", text):
        raise ValueError(
            f"write a token of {SHORTEST_TOKEN} to {LONGEST} visible ASCII characters, "
            "as `openssl rand -hex 32` makes"
        )
    return Given(text, 0)


class Known:
    """
    Which secrets were right, so that the slow check is made once for each, and not at each request.

    What is kept are keyed hashes, whose key is this process's alone.
    """

    __slots__ = ("_key", "_known", "_most")

    def __init__(self, most: int = 64) -> None:
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._most = most

    def _mark(self, secret: bytes) -> bytes:
        return hmac.digest(self._key, secret, "sha256")

    def __contains__(self, secret: bytes) -> bool:
        mark = self._mark(secret)
        if mark not in self._known:
            return False
        self._known.move_to_end(mark)
        return True

    def add(self, secret: bytes) -> None:
        """A secret was right."""
        self._known[self._mark(secret)] = None
        if len(self._known) > self._most:
            self._known.popitem(last=False)
