"""
Sign-in by OpenID Connect (OpenID Connect Core 1.0, the code flow with PKCE of RFC 7636). No I/O.

Who opens a page without a session is sent to the provider, comes back to L{CALLBACK} with a code, and the
edge asks the provider who that is. The session is a cookie, sealed by a key derived from the client's secret:
so all nodes have it, and nothing is kept here.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlencode

from cryptography.fernet import Fernet, InvalidToken
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.policy.base import Answer, Visit
from burrow.policy.cookies import cookie, from_elsewhere, safe_return, set_cookie
from burrow.policy.doors import Door, Verdict, kept_as_it_is, see_other
from burrow.policy.hashed import encoded
from burrow.policy.jwts import checked, identity, unreachable
from burrow.policy.means import FetchFailed
from burrow.policy.people import Allowed
from burrow.policy.provider import Provider, is_url

CALLBACK = b"/_burrow/callback"
"""Where a provider sends its users back to: the redirect URI is this, of the tunnel's URL."""

LASTS = 12 * 3600
"""Seconds of a session."""

_SIGN_IN_LASTS = 600
_MAX_COOKIE = 3500
_KEPT = ("sub", "email", "name", "groups")
_STARTED = b"signing-in"


@dataclass(frozen=True, slots=True)
class Client:
    """
    What a provider knows a tunnel by.

    @ivar issuer: the provider's URL. @ivar scope: what is asked for.
    """

    issuer: str
    id: str
    secret: str = field(repr=False)
    scope: str = "openid email profile"


class OpenId(Door):
    """
    The door.

    @param allowed: whom it lets in.
    """

    cookie = b"session"
    wanted = "Open this page in a browser and sign in."
    log = Logger()

    def __init__(self, client: Client, allowed: Iterable[Allowed]) -> None:
        self._client = client
        self._allowed = tuple(allowed)
        self._provider = Provider(client.issuer)
        seed = f"burrow session\0{client.issuer}\0{client.id}".encode()
        self._seal = Fernet(urlsafe_b64encode(hmac.digest(client.secret.encode(), seed, "sha256")))

    # -- the session ---------------------------------------------------------------------------------------

    def check(self, visit: Visit) -> Verdict | Deferred[Verdict]:
        """See L{Door}."""
        if visit.request.target.partition(b"?")[0] == CALLBACK:
            return self._back(visit)
        said = self._opened(visit, self.cookie)
        if said is None or from_elsewhere(visit) or not self._lets_in(said["user"]):
            return None
        visit.identity += identity(said["user"])
        return kept_as_it_is

    def _lets_in(self, user: dict[str, Any]) -> bool:
        return any(one.has(user) for one in self._allowed)

    def _sealed(self, visit: Visit, seconds: int, **said: Any) -> bytes:
        now = visit.means.now()
        whole = {"host": visit.request.host, "ends": int(now) + seconds, **said}
        return self._seal.encrypt_at_time(json.dumps(whole).encode(), int(now))

    def _opened(self, visit: Visit, name: bytes) -> Any:
        """What one of our cookies says; None if it is none, of another host, or has ended."""
        value = cookie(visit, name)
        if not value or len(value) > 2 * _MAX_COOKIE:
            return None
        try:
            said = json.loads(self._seal.decrypt(value))
        except (InvalidToken, ValueError):
            return None
        host, ends = said["host"], said["ends"]
        kind = "user" if name == self.cookie else "state"
        return said if kind in said and host == visit.request.host and ends > visit.means.now() else None

    # -- the way to the provider ---------------------------------------------------------------------------

    def page(self, visit: Visit) -> Deferred[Answer | None]:
        """See L{Door}: the way to the provider."""
        found: Deferred[Any] = self._provider.get(visit.means)
        found.addCallback(self._send, visit)
        return found.addErrback(self._not_fetched)

    def _send(self, provider: dict[str, Any], visit: Visit) -> Answer:
        state, nonce, verifier = token_urlsafe(24), token_urlsafe(24), token_urlsafe(48)
        asked = {
            "response_type": "code",
            "client_id": self._client.id,
            "redirect_uri": self._redirect_uri(visit),
            "scope": self._client.scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": encoded(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        to = safe_return(visit.request.target).decode("ascii")[:1000]
        value = self._sealed(visit, _SIGN_IN_LASTS, state=state, nonce=nonce, verifier=verifier, to=to)
        location = _with_query(provider.get("authorization_endpoint", ""), asked)
        return see_other(location, [set_cookie(visit, _STARTED, value, _SIGN_IN_LASTS)])

    def _redirect_uri(self, visit: Visit) -> str:
        return (visit.origin + CALLBACK).decode("latin-1")

    # -- the way back --------------------------------------------------------------------------------------

    def _back(self, visit: Visit) -> Answer | Deferred[Verdict]:
        query = visit.request.target.partition(b"?")[2].decode("latin-1")
        try:
            given = parse_qs(query, max_num_fields=20)
        except ValueError:
            given = {}
        started = self._opened(visit, _STARTED)
        state = given.get("state", [""])[0]
        if started is None or not hmac.compare_digest(state.encode(), started["state"].encode()):
            return _again("This sign-in did not begin in this browser, or took longer than ten minutes.")
        if given.get("iss", [self._client.issuer])[0] != self._client.issuer:  # RFC 9207
            return _again("The answer came from another provider.")
        if "error" in given or len(given.get("code", ())) != 1:
            why = given.get("error_description", given.get("error", ["it gave no code"]))[0]
            return _again(f"The provider did not sign you in: {why[:200]}")
        found = self._provider.get(visit.means).addCallback(self._ask, visit, given["code"][0], started)
        return found.addErrback(self._not_fetched)

    def _ask(self, provider: dict[str, Any], visit: Visit, code: str, started: Any) -> Deferred[Verdict]:
        """Ask the provider whose code this is."""
        client = self._client
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri(visit),
            "code_verifier": started["verifier"],
        }
        fields: dict[str, str] = {}
        methods = provider.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if "client_secret_basic" in methods or "client_secret_post" not in methods:
            pair = f"{quote_plus(client.id)}:{quote_plus(client.secret)}"  # RFC 6749 section 2.3.1
            fields["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": client.id, "client_secret": client.secret}
        asked = visit.means.fetch(provider.get("token_endpoint", ""), form, fields)
        return asked.addCallback(self._tokens, visit, provider, started)

    def _tokens(
        self, tokens: Any, visit: Visit, provider: dict[str, Any], started: Any
    ) -> Answer | Deferred[Verdict]:
        token = tokens.get("id_token") if isinstance(tokens, dict) else None
        keys = self._provider.keys
        if not isinstance(token, str) or keys is None:
            return _again("The provider did not say who you are.")
        said = checked(token, keys, self._client.issuer, [self._client.id], visit.means)
        return said.addCallback(self._who, visit, provider, started, tokens.get("access_token"))

    def _who(
        self, claims: dict[str, Any] | None, visit: Visit, provider: dict[str, Any], started: Any, access: Any
    ) -> Answer | Deferred[Verdict]:
        if (
            claims is None
            or not isinstance(claims.get("sub"), str)
            or not hmac.compare_digest(str(claims.get("nonce", "")).encode(), started["nonce"].encode())
            or claims.get("azp", self._client.id) != self._client.id
        ):
            return _again("What the provider said of you is not valid.")
        where = provider.get("userinfo_endpoint")
        if self._lets_in(claims) or not (is_url(where) and isinstance(access, str)):
            return self._signed_in(claims, visit, started)
        # Some providers put the address and the groups there alone.
        asked = visit.means.fetch(where, None, {"Authorization": f"Bearer {access}"})

        def more(info: Any) -> Answer:
            same = isinstance(info, dict) and info.get("sub") == claims["sub"]
            return self._signed_in({**info, **claims} if same else claims, visit, started)

        return asked.addCallback(more)

    def _signed_in(self, claims: dict[str, Any], visit: Visit, started: Any) -> Answer:
        ended = set_cookie(visit, _STARTED, b"", 0)
        if not self._lets_in(claims):
            who = claims.get("email") or claims["sub"]
            text = f"You are signed in as {str(who)[:200]}, who is not let in here."
            return Answer(403, "not-allowed", "This is not open to you", text, [ended])
        user = {name: claims[name] for name in (*_KEPT, "email_verified") if name in claims}
        value = self._sealed(visit, LASTS, user=user)
        if len(value) > _MAX_COOKIE:
            # Of somebody who is in very many groups, those that let in.
            names = {one.value for one in self._allowed if one.what == "group"}
            user["groups"] = [one for one in user.get("groups", ()) if one in names]
            value = self._sealed(visit, LASTS, user=user)
        fields = [set_cookie(visit, self.cookie, value, LASTS), ended]
        return see_other(safe_return(started["to"].encode()), fields)

    def _not_fetched(self, reason: Failure) -> Answer:
        reason.trap(FetchFailed)
        self.log.warn(
            "nobody can sign in by {issuer}: {why}", issuer=self._client.issuer, why=str(reason.value)
        )
        return unreachable()

    # -- the way out ---------------------------------------------------------------------------------------

    def sign_out(self, visit: Visit) -> Deferred[Answer | None]:
        """See L{Door}: at the provider, too, if it has that (OpenID Connect RP-Initiated Logout 1.0)."""

        def out(provider: dict[str, Any]) -> Answer | None:
            where = provider.get("end_session_endpoint")
            if not is_url(where):
                return None
            return see_other(_with_query(where, {"client_id": self._client.id}))

        return self._provider.get(visit.means).addCallbacks(
            out, lambda reason: reason.trap(FetchFailed) and None
        )


def _with_query(url: str, fields: dict[str, str]) -> bytes:
    return (url + ("&" if "?" in url else "?") + urlencode(fields)).encode("ascii", "replace")


def _again(text: str) -> Answer:
    return Answer(403, "not-signed-in", "You are not signed in", f"{text} Open the page again to sign in.")
