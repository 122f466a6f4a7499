"""JSON web signatures as ACME uses them: flattened (RFC 7515 section 7.2.2), by ES256 or HS256 (RFC 7518)."""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwa import ES256, HS256
from josepy.jwk import JWKEC


def encode(data: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """The bytes of base64url without padding. @raise ValueError: it is no base64url."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def public_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """The public key in JSON form (RFC 7517)."""
    public: dict[str, str] = json.loads(JWKEC(key=key.public_key()).json_dumps())
    return public


def thumbprint(key: ec.EllipticCurvePrivateKey) -> str:
    """The key's thumbprint (RFC 7638)."""
    return encode(JWKEC(key=key).thumbprint())


def signed(
    key: ec.EllipticCurvePrivateKey | bytes, header: dict[str, Any], payload: dict[str, Any] | None
) -> bytes:
    """
    A signed JSON object.

    @param key: a P-256 key for ES256, or the bytes of a shared secret for HS256.
    @param header: the protected header, without C{alg}. @param payload: None for an empty one.
    """
    algorithm: Any = HS256 if isinstance(key, bytes) else ES256
    protected = encode(json.dumps({"alg": algorithm.name, **header}).encode())
    body = "" if payload is None else encode(json.dumps(payload).encode())
    signature = encode(algorithm.sign(key, f"{protected}.{body}".encode()))
    return json.dumps({"protected": protected, "payload": body, "signature": signature}).encode()
