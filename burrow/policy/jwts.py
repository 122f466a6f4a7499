"""
JSON Web Tokens (RFC 7519), checked by the keys of whoever issues them, as RFC 8725 says. No I/O.

Signatures alone that a public key checks are taken, and each by a key of its own type: what a key is for is
never decided by the token (alg confusion), nor is where the key is found.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.http.headers import Fields
from burrow.policy.base import Answer, Visit
from burrow.policy.bearer import bearer
from burrow.policy.cookies import without
from burrow.policy.doors import Door, Verdict
from burrow.policy.means import FetchFailed, Means
from burrow.policy.provider import Keys, Provider

LONGEST = 8 * 1024
"""Characters of a visitor's token, at most."""

LEEWAY = 60.0
"""Seconds by which clocks may differ."""

_TYPES = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", "")),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", ""),
}
"""The algorithms that are taken: the type of key of each, and its curve."""


def _header(token: str) -> dict[str, Any] | None:
    """A token's header; None if nothing of the kind is taken."""
    import jwt  # of tunnels that want it alone: it takes a while to load

    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        return None
    alg = header.get("alg")
    return header if isinstance(alg, str) and alg in _TYPES and "crit" not in header else None


def _fits(key: dict[str, Any], header: dict[str, Any]) -> bool:
    """Whether a key is the one that a header names, and is for its algorithm."""
    kind, curve = _TYPES[header["alg"]]
    return (
        key.get("kty") == kind
        and (not curve or key.get("crv") == curve)
        and key.get("alg", header["alg"]) == header["alg"]
        and key.get("use", "sig") == "sig"
        and (header.get("kid") is None or key.get("kid") == header["kid"])
    )


def _claims(
    token: str, keys: Iterable[dict[str, Any]], issuer: str, audiences: Iterable[str], now: float
) -> dict[str, Any] | None:
    """What a token says; None if no key has signed it, or it is not for now or for us."""
    import jwt

    header = _header(token)
    if header is None:
        return None
    fitting = [key for key in keys if _fits(key, header)]
    if len(fitting) > 1 and header.get("kid") is None:
        return None
    checks = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["exp", "iss", "aud"]}
    for key in fitting[:1]:
        try:
            said: dict[str, Any] = jwt.decode(
                token,
                jwt.PyJWK(key, header["alg"]),
                algorithms=[header["alg"]],
                audience=list(audiences),
                issuer=issuer,
                options=checks,  # type: ignore[arg-type]
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
        return said if _is_now(said, now) else None
    return None


def _is_now(claims: dict[str, Any], now: float) -> bool:
    """Whether a token counts at a time (RFC 7519 section 4.1)."""
    times = [claims.get("exp"), claims.get("nbf", 0), claims.get("iat", 0)]
    if any(isinstance(one, bool) or not isinstance(one, (int, float)) for one in times):
        return False
    expires, begins, issued = times
    return bool(now < expires + LEEWAY and begins <= now + LEEWAY and issued <= now + LEEWAY)


def checked(
    token: str, keys: Keys, issuer: str, audiences: Iterable[str], means: Means
) -> Deferred[dict[str, Any] | None]:
    """What a token says; None if it does not count. Fails with L{FetchFailed}: the keys cannot be had."""
    header = _header(token)
    if header is None:
        return succeed(None)

    def found(known: list[dict[str, Any]]) -> Any:
        if any(_fits(key, header) for key in known):
            return _claims(token, known, issuer, audiences, means.now())
        newer = keys.get(means, newer=True)
        return newer.addCallback(lambda new: _claims(token, new, issuer, audiences, means.now()))

    return keys.get(means).addCallback(found)


def identity(claims: dict[str, Any]) -> Fields:
    """Who somebody is, as fields for the upstream."""
    fields: Fields = []
    for name, claim in (
        (b"Burrow-User", "sub"),
        (b"Burrow-User-Email", "email"),
        (b"Burrow-User-Name", "name"),
    ):
        value = claims.get(claim)
        if isinstance(value, str) and value and value.isprintable() and len(value) <= 500:
            fields.append((name, value.encode("utf-8", "replace")))
    groups = claims.get("groups")
    if isinstance(groups, list):
        named = ""
        for one in groups:
            if isinstance(one, str) and one.isprintable() and "," not in one and len(named) + len(one) < 2000:
                named += f",{one}" if named else one
        if named:
            fields.append((b"Burrow-User-Groups", named.encode("utf-8", "replace")))
    return fields


class JsonWebTokens(Door):
    """
    The door.

    @param issuer: who has to have issued a token. @param audiences: one of which it has to be for.
    @param keys_url: where the issuer's keys are; empty if its configuration says where.
    """

    challenge = b'Bearer realm="Burrow"'
    wanted = "Send a token of its issuer's in Authorization: Bearer."
    log = Logger()

    def __init__(self, issuer: str, audiences: Iterable[str], keys_url: str = "") -> None:
        self._issuer = issuer
        self._audiences = tuple(audiences)
        self._provider = None if keys_url else Provider(issuer)
        self._keys = Keys(keys_url) if keys_url else None

    def check(self, visit: Visit) -> Verdict | Deferred[Verdict]:
        """See L{Door}."""
        token = bearer(visit)
        if token.count(b".") != 2 or not token.isascii() or len(token) > LONGEST:
            return None
        text = token.decode("ascii")
        if self._provider is None:
            assert self._keys is not None
            said: Deferred[Any] = self._check(self._keys, text, visit)
        else:
            provider = self._provider
            said = provider.get(visit.means)
            said.addCallback(lambda _: self._check(provider.keys, text, visit))
        return said.addCallback(self._said, visit).addErrback(self._not_fetched)

    def _check(self, keys: Any, token: str, visit: Visit) -> Deferred[dict[str, Any] | None]:
        return checked(token, keys, self._issuer, self._audiences, visit.means)

    def _said(self, claims: dict[str, Any] | None, visit: Visit) -> Verdict:
        if claims is None:
            return None
        visit.identity += identity(claims)
        return without(b"authorization")

    def _not_fetched(self, reason: Failure) -> Answer:
        reason.trap(FetchFailed)
        self.log.warn(
            "tokens of {issuer} cannot be checked: {why}", issuer=self._issuer, why=str(reason.value)
        )
        return unreachable()


def unreachable() -> Answer:
    """Whoever could say who somebody is does not answer."""
    text = "Who may visit is said by another server, which does not answer. Try again in a minute."
    return Answer(502, "provider-away", "Nobody can be let in now", text, [(b"Retry-After", b"60")])
