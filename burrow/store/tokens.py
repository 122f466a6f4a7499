"""
Makes tokens, and checks them in constant time.

The text of a token is C{burrow_ID_SECRET}. The record is found by the id. Of the secret (160 random bits)
only the SHA-256 is kept: a slow hash is needed only for secrets that can be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from typing import Any

import attr

from burrow.errors import ConfigError
from burrow.store.base import ROLES, TOKEN_USED_STEP, IStore, Token
from burrow.values import is_token_name

_ALPHABET = string.ascii_lowercase + string.digits
_SHAPE = re.compile(r"burrow_([a-z0-9]{10})_([a-z0-9]{32})")
_NO_DIGEST = hashlib.sha256(b"").digest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def make_token(name: str, role: str, now: float, **settings: Any) -> tuple[str, Token]:
    """
    A new token: the text for its owner, and the record for the store. C{settings}: its C{max_...}.

    @raise ConfigError: the name or the role is not a possible one.
    """
    if not is_token_name(name):
        raise ConfigError(f"{name!r} is no token name: use up to 63 letters, digits and . _ @ -")
    if role not in ROLES:
        raise ConfigError(f"{role!r} is no role: use one of {', '.join(ROLES)}")
    token = Token(_random(10), name, role, _NO_DIGEST, now)
    text, digest = rotated(token)
    return text, attr.evolve(token, digest=digest, **settings)


def rotated(token: Token) -> tuple[str, bytes]:
    """Another secret for a token: the text for its owner, and the digest for the store."""
    secret = _random(32)
    return f"burrow_{token.id}_{secret}", hashlib.sha256(secret.encode()).digest()


async def check_token(store: IStore, text: str) -> Token | None:
    """
    The token's record, if C{text} is the whole of one that is not revoked.

    @raise StoreError: the store cannot tell.
    """
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        return None
    token = await store.token(shape[1])
    digest = hashlib.sha256(shape[2].encode()).digest()
    # One comparison in either case, so that the time it takes does not tell which ids exist.
    same = hmac.compare_digest(digest, token.digest if token is not None else _NO_DIGEST)
    return token if same else None


async def note_use(store: IStore, token: Token, now: float) -> None:
    """
    Keep when a token was used, unless that was kept a moment ago.

    @param token: as the store has just told it. @raise StoreError: it cannot be kept, as on a full disk.
    """
    if token.last_used is None or not 0 <= now - token.last_used < TOKEN_USED_STEP:
        await store.token_used(token.id, now)
