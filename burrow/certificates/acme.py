"""
An ACME client (RFC 8555) with the methods that txacme's AcmeIssuingService calls.

One L{Directory} is one CA: its URLs, its nonces and our account there. One L{OrderClient} is one order.
Bodies are JWS with ES256 (RFC 7515, RFC 7518); everything but the directory, nonces and renewal information
is a POST (section 6.2).
"""

from __future__ import annotations

import base64
import datetime
import json
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any

import attr
from acme import messages
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwa import ES256, HS256
from josepy.jwk import JWKEC
from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, DeferredLock, TimeoutError, succeed
from twisted.internet.error import ConnectError, ConnectionLost, DNSLookupError
from twisted.internet.task import deferLater
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool, ResponseFailed
from twisted.web.http_headers import Headers

from burrow import __version__
from burrow.certificates.problems import AcmeProblem, AcmeUnreachable

CONNECT_TIMEOUT = 10.0
REQUEST_TIMEOUT = 30.0
"""Seconds for one request and its answer."""

NONCE_TRIES = 30
"""Times that a request is made whose nonce the CA refuses."""

_MAX_NONCES, _MAX_SUBPROBLEMS = 50, 20
_POLL_FIRST, _POLL_LIMIT, _POLL_FOR = 0.05, 5.0, 60.0
_STATUS = {
    "pending": messages.STATUS_PENDING,
    "processing": messages.STATUS_PROCESSING,
    "valid": messages.STATUS_VALID,
}
_URN = "urn:ietf:params:acme:error:"
_LONGEST_WAIT = 7 * 86_400.0
_ASK_SOONEST, _ASK_LATEST = 60.0, 86_400.0
_ASK_USUALLY = 6 * 3600.0


@attr.frozen
class ExternalAccount:
    """An external account binding (section 7.3.4): what the CA gave. @ivar key: base64url."""

    kid: str
    key: str = attr.field(repr=False)


@attr.frozen
class _Answer:
    status: int
    headers: Any
    body: bytes

    def header(self, name: str) -> str:
        values: list[str] = self.headers.getRawHeaders(name) or [""]
        return values[-1]

    def json(self) -> dict[str, Any]:
        try:
            parsed = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise AcmeUnreachable("the CA's answer is no JSON") from error
        if not isinstance(parsed, dict):
            raise AcmeUnreachable("the CA's answer is no JSON object")
        return parsed

    def retry_after(self, default: float | None, now: float) -> float | None:
        """Seconds (RFC 9110 section 10.2.3), a week at most. C{now}: seconds since the epoch."""
        text = self.header("Retry-After").strip()
        if text.isascii() and text.isdigit():
            return min(float(text[:20]), _LONGEST_WAIT)
        try:
            wait = parsedate_to_datetime(text).timestamp() - now
        except (TypeError, ValueError, OverflowError):
            return default
        return min(max(0.0, wait), _LONGEST_WAIT)


def _why(error: BaseException) -> str:
    """What is below a failed request."""
    reasons = getattr(error, "reasons", None)
    if reasons:
        return _why(reasons[0].value)
    os_error = getattr(error, "osError", None)
    return str(os_error or error)


def encode(data: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Its reverse."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def problem_of(fields: dict[str, Any], until: float | None = None) -> AcmeProblem:
    """A problem document as an error."""
    kind = str(fields.get("type", "")).removeprefix(_URN)
    detail = str(fields.get("detail", ""))[:500]
    subproblems = fields.get("subproblems")
    about = [fields]
    for sub in subproblems[:_MAX_SUBPROBLEMS] if isinstance(subproblems, list) else []:
        if isinstance(sub, dict):
            about.append(sub)
            if sub.get("detail"):
                detail += f" ({str(sub['detail'])[:200]})"
    identifiers = [one["identifier"] for one in about if isinstance(one.get("identifier"), dict)]
    names = frozenset(str(one.get("value", "")).lower() for one in identifiers)
    return AcmeProblem(kind, detail, until, names)


class Directory:
    """
    One CA.

    @param url: its directory. @param key: our account's key, a P-256 one.
    @param email: for the account; empty for none. @param trust_root: what its own certificate must come from.
    @param profile: which of the CA's kinds of certificates to ask for; empty for the one it gives unasked.
    @param now: seconds since the epoch.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        key: ec.EllipticCurvePrivateKey,
        *,
        email: str = "",
        external: ExternalAccount | None = None,
        trust_root: Any = None,
        profile: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self.url = url
        self._now = now
        self._profile = profile
        self.key = key
        self.reactor = reactor
        self._email = email
        self._external = external
        self._account = ""
        self._urls: dict[str, Any] = {}
        self._nonces: list[str] = []
        self._creating = DeferredLock()
        self._pool = HTTPConnectionPool(reactor)
        policy = BrowserLikePolicyForHTTPS(trustRoot=trust_root)
        agent = Agent(reactor, policy, connectTimeout=CONNECT_TIMEOUT, pool=self._pool)
        self._http = HTTPClient(agent)

    def close(self) -> Deferred[None]:
        """Let go of the connections."""
        closing: Deferred[None] = self._pool.closeCachedConnections()
        return closing

    @property
    def thumbprint(self) -> str:
        """Of the account's key (RFC 7638)."""
        return encode(JWKEC(key=self.key).thumbprint())

    # -- requests -----------------------------------------------------------------------------------------

    async def _request(self, method: str, url: str, body: bytes | None = None) -> _Answer:
        asking = Deferred.fromCoroutine(self._exchange(method, url, body))
        try:
            answer = await asking.addTimeout(REQUEST_TIMEOUT, self.reactor)
        except TimeoutError as error:
            raise AcmeUnreachable(f"the CA at {self.url} does not answer") from error
        except (ConnectError, ConnectionLost, DNSLookupError, ResponseFailed, SSL.Error) as error:
            raise AcmeUnreachable(f"the CA at {self.url} cannot be reached: {_why(error)}") from error
        nonce = answer.header("Replay-Nonce")
        if nonce and len(self._nonces) < _MAX_NONCES:
            self._nonces.append(nonce)
        return answer

    async def _exchange(self, method: str, url: str, body: bytes | None) -> _Answer:
        headers = Headers({"User-Agent": [f"burrow/{__version__}"]})
        if body is not None:
            headers.setRawHeaders("Content-Type", ["application/jose+json"])
        response = await self._http.request(method, url, data=body, headers=headers, unbuffered=True)
        return _Answer(response.code, response.headers, await response.content())

    async def urls(self) -> dict[str, Any]:
        """The directory (section 7.1.1), asked for once."""
        if not self._urls:
            answer = await self._request("GET", self.url)
            urls = answer.json() if answer.status == 200 else {}
            if not {"newNonce", "newAccount", "newOrder"} <= urls.keys():
                raise AcmeUnreachable(f"{self.url} is no ACME directory (HTTP status {answer.status})")
            self._urls = urls
        return self._urls

    async def _nonce(self) -> str:
        if not self._nonces:
            await self._request("HEAD", (await self.urls())["newNonce"])
        if not self._nonces:
            raise AcmeUnreachable(f"the CA at {self.url} gives no nonce")
        return self._nonces.pop()

    def _sign(self, url: str, nonce: str, payload: dict[str, Any] | None, account: str) -> bytes:
        header: dict[str, Any] = {"alg": "ES256", "nonce": nonce, "url": url}
        header.update({"kid": account} if account else {"jwk": self._public})
        return _jws(header, payload, lambda message: ES256.sign(self.key, message))

    @property
    def _public(self) -> dict[str, str]:
        public: dict[str, str] = json.loads(JWKEC(key=self.key.public_key()).json_dumps())
        return public

    async def post(self, url: str, payload: dict[str, Any] | None, *, new_account: bool = False) -> _Answer:
        """
        A signed request; C{None} makes it a POST-as-GET (section 6.3).

        @raise AcmeProblem: the CA says no. @raise AcmeUnreachable: it says nothing.
        """
        account = "" if new_account else await self.account()
        for _ in range(NONCE_TRIES):
            answer = await self._request("POST", url, self._sign(url, await self._nonce(), payload, account))
            if answer.status < 400:
                return answer
            try:
                fields = answer.json()
            except AcmeUnreachable:
                raise AcmeUnreachable(f"the CA at {self.url} answers HTTP status {answer.status}") from None
            if fields.get("type") != _URN + "badNonce":
                break
        now = self._now()
        wait = answer.retry_after(None, now)
        raise problem_of(fields, None if wait is None else now + wait)

    def retry_after(self, answer: _Answer) -> float:
        """The seconds that an answer wants us to wait; 0 if it does not say."""
        return answer.retry_after(None, self._now()) or 0.0

    # -- the account (section 7.3) --------------------------------------------------------------------------

    async def account(self) -> str:
        """Our account's URL. The first time it is made; the CA answers with the one there is for our key."""
        async with self._creating:
            if not self._account:
                self._account = await self._new_account()
            return self._account

    async def _new_account(self) -> str:
        urls = await self.urls()
        payload: dict[str, Any] = {"termsOfServiceAgreed": True}
        if self._email:
            payload["contact"] = [f"mailto:{self._email}"]
        if self._external is not None:
            header = {"alg": "HS256", "kid": self._external.kid, "url": urls["newAccount"]}
            secret = decode(self._external.key)
            bound = _jws(header, self._public, lambda message: HS256.sign(secret, message))
            payload["externalAccountBinding"] = json.loads(bound)
        elif (urls.get("meta") or {}).get("externalAccountRequired"):
            raise AcmeProblem(
                "externalAccountRequired",
                f"the CA at {self.url} wants an account that it knows: "
                "give --acme-eab-kid and --acme-eab-key, for the fallback CA --acme-fallback-eab-kid and "
                "--acme-fallback-eab-key",
            )
        answer = await self.post(urls["newAccount"], payload, new_account=True)
        return answer.header("Location")

    def forget_account(self) -> None:
        """The CA does not know it any more: make another."""
        self._account = ""

    # -- profiles (draft-ietf-acme-profiles) ----------------------------------------------------------------

    async def profile(self) -> str:
        """The profile to ask for. @raise AcmeProblem: the CA has none of that name."""
        if self._profile:
            meta = (await self.urls()).get("meta")
            offered = meta.get("profiles") if isinstance(meta, dict) else None
            known = sorted(map(str, offered)) if isinstance(offered, dict) else []
            if self._profile not in known:
                has = "it has " + ", ".join(known[:20]) if known else "it has no profiles"
                text = f"the CA at {self.url} has no profile {self._profile!r}: {has}; see --acme-profile"
                raise AcmeProblem("invalidProfile", text)
        return self._profile

    # -- renewal information (RFC 9773) ---------------------------------------------------------------------

    async def informs(self) -> bool:
        """Whether the CA says when to renew. It then knows what an order replaces, too (section 5)."""
        return bool((await self.urls()).get("renewalInfo"))

    async def renewal_window(self, certificate: x509.Certificate) -> tuple[float, float, float] | None:
        """
        When the CA wants a certificate to be renewed: two times in seconds since the epoch; and in how many
        seconds to ask again, within the bounds of section 4.3.2. None if it does not say, or nothing that
        makes sense: then what it said before does not hold any more (section 4.2).
        """
        if not await self.informs():
            return None
        base = str((await self.urls())["renewalInfo"])
        answer = await self._request("GET", f"{base.rstrip('/')}/{renewal_id(certificate)}")
        if answer.status != 200:
            return None
        try:
            window = answer.json()["suggestedWindow"]
            start, end = (parse_time(window[key]) for key in ("start", "end"))
        except (KeyError, TypeError, ValueError, OverflowError, AcmeUnreachable):
            return None
        if end <= start or start >= certificate.not_valid_after_utc.timestamp():
            return None
        again = answer.retry_after(None, self._now())
        again = _ASK_USUALLY if again is None else min(max(again, _ASK_SOONEST), _ASK_LATEST)
        return start, min(end, certificate.not_valid_after_utc.timestamp()), again


def parse_time(text: str) -> float:
    """A time of RFC 3339, in seconds since the epoch. @raise ValueError: it is none."""
    when = datetime.datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError("a time without its offset from UTC")
    return when.timestamp()


def renewal_id(certificate: x509.Certificate) -> str:
    """A certificate's name in renewal information (RFC 9773 section 4.1)."""
    identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    number = certificate.serial_number
    serial = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return f"{encode(identifier.key_identifier or b'')}.{encode(serial)}"


def _jws(header: dict[str, Any], payload: dict[str, Any] | None, sign: Callable[[bytes], bytes]) -> bytes:
    """The flattened JSON serialization (RFC 7515 section 7.2.2)."""
    protected = encode(json.dumps(header).encode())
    body = "" if payload is None else encode(json.dumps(payload).encode())
    signature = encode(sign(f"{protected}.{body}".encode()))
    return json.dumps({"protected": protected, "payload": body, "signature": signature}).encode()


# -- what the issuing service reads: the shapes of ACME's objects as txacme knows them -----------------------


@attr.frozen
class Challenge:
    """One challenge of an authorization. @ivar chall: itself, for the responder."""

    typ: str
    url: str
    token: str
    error: AcmeProblem | None

    @property
    def chall(self) -> Challenge:
        """See above."""
        return self

    def response(self, thumbprint: str) -> str:
        """The key authorization (section 8.1)."""
        return f"{self.token}.{thumbprint}"


@attr.frozen
class _Identifier:
    value: str


@attr.frozen
class AuthorizationBody:
    """See section 7.1.4."""

    identifier: _Identifier
    status: Any
    challenges: list[Challenge]

    @property
    def resolved_combinations(self) -> list[tuple[Challenge]]:
        """Each challenge suffices by itself."""
        return [(challenge,) for challenge in self.challenges]


@attr.frozen
class Authorization:
    """An authorization and where it is."""

    uri: str
    body: AuthorizationBody


@attr.frozen
class IssuedCertificate:
    """One certificate of a chain. @ivar body: DER."""

    body: bytes


def _authorization(url: str, fields: dict[str, Any]) -> Authorization:
    challenges = [
        Challenge(
            str(one.get("type")),
            str(one.get("url")),
            str(one.get("token", "")),
            problem_of(one["error"]) if isinstance(one.get("error"), dict) else None,
        )
        for one in fields.get("challenges") or []
        if isinstance(one, dict)
    ]
    status = _STATUS.get(str(fields.get("status")), messages.STATUS_INVALID)
    identifier = _Identifier(str((fields.get("identifier") or {}).get("value", "")))
    return Authorization(url, AuthorizationBody(identifier, status, challenges))


class OrderClient:
    """
    One order: what AcmeIssuingService calls its client.

    @ivar key: the thumbprint of the account's key, which is all that challenges need of it; once the order is
        made. @param directory: the CA, which is asked for when the order is made.
    @param replaces: the certificate that a name has now and this one renews, if any.
    @param finalizing: called with a name and True before the CA is asked to issue, which nothing takes back,
        and with False if it says that it did not.
    """

    def __init__(
        self,
        directory: Callable[[], Awaitable[Directory]],
        replaces: Callable[[str], x509.Certificate | None] = lambda name: None,
        finalizing: Callable[[str, bool], None] = lambda name, sent: None,
    ) -> None:
        self.key = ""
        self._find_directory = directory
        self._directory: Directory
        self._replaces = replaces
        self._finalizing = finalizing
        self._name = ""
        self._order = ""
        self._finalize = ""
        self._chain: list[IssuedCertificate] = []
        self._delay = _POLL_FIRST

    def register(self, registration: Any) -> Deferred[Any]:
        """The account is made when it is first needed."""
        return succeed(registration)

    def agree_to_tos(self, registration: Any) -> Deferred[Any]:
        """Agreed when the account is made."""
        return succeed(registration)

    def request_challenges(self, identifier: Any) -> Deferred[Authorization]:
        """Make the order; fires with its one authorization."""
        return Deferred.fromCoroutine(self._new_order(str(identifier.value)))

    async def _new_order(self, name: str) -> Authorization:
        self._name = name
        self._directory = await self._find_directory()
        self.key = self._directory.thumbprint
        urls = await self._directory.urls()
        payload: dict[str, Any] = {"identifiers": [{"type": "dns", "value": name}]}
        profile = await self._directory.profile()
        if profile:
            payload["profile"] = profile
        before = self._replaces(name)
        if before is not None and urls.get("renewalInfo"):
            payload["replaces"] = renewal_id(before)
        try:
            answer = await self._directory.post(urls["newOrder"], payload)
        except AcmeProblem as problem:
            if problem.kind == "accountDoesNotExist":
                self._directory.forget_account()
            elif "replaces" not in payload or problem.kind not in (
                "alreadyReplaced",
                "malformed",
                "conflict",
            ):
                raise
            payload.pop("replaces", None)
            answer = await self._directory.post(urls["newOrder"], payload)
        order = answer.json()
        self._order, self._finalize = answer.header("Location"), str(order.get("finalize"))
        url = str((order.get("authorizations") or [""])[0])
        return await self._authorization(url)

    async def _authorization(self, url: str) -> Authorization:
        return _authorization(url, (await self._directory.post(url, None)).json())

    def answer_challenge(self, challenge: Challenge, response: str) -> Deferred[None]:
        """Say that the challenge can be validated."""
        return Deferred.fromCoroutine(self._answer(challenge))

    async def _answer(self, challenge: Challenge) -> None:
        try:
            await self._directory.post(challenge.url, {})
        except AcmeProblem as problem:
            # An authorization that is still valid from before needs no answer.
            if problem.kind not in ("malformed", "unauthorized"):
                raise

    def poll(self, authorization: Authorization) -> Deferred[tuple[Authorization, float]]:
        """Ask how the authorization is; fires with it, and the seconds until to ask again."""
        return Deferred.fromCoroutine(self._poll(authorization))

    async def _poll(self, authorization: Authorization) -> tuple[Authorization, float]:
        answer = await self._directory.post(authorization.uri, None)
        return _authorization(authorization.uri, answer.json()), self._pause(answer)

    def _pause(self, answer: _Answer) -> float:
        delay, self._delay = self._delay, min(self._delay * 1.5, _POLL_LIMIT)
        return max(delay, min(self._directory.retry_after(answer), _POLL_LIMIT))

    def request_issuance(self, request: Any) -> Deferred[IssuedCertificate]:
        """Finalise the order with a CSR; fires with the certificate."""
        der = request.csr.public_bytes(serialization.Encoding.DER)
        return Deferred.fromCoroutine(self._issue(der))

    async def _issue(self, csr: bytes) -> IssuedCertificate:
        directory = self._directory
        self._finalizing(self._name, True)
        try:
            answer = await directory.post(self._finalize, {"csr": encode(csr)})
        except AcmeProblem as problem:
            self._finalizing(self._name, problem.kind == "serverInternal")
            raise
        self._delay = _POLL_FIRST
        ends = directory.reactor.seconds() + _POLL_FOR
        while True:
            order = answer.json()
            status = order.get("status")
            if status == "valid":
                break
            if status == "invalid":
                self._finalizing(self._name, False)
                raise problem_of(order.get("error") or {"detail": "the order became invalid"})
            if directory.reactor.seconds() > ends:
                raise AcmeUnreachable(f"the CA at {directory.url} issued nothing within {_POLL_FOR:.0f} s")
            await deferLater(directory.reactor, self._pause(answer))
            answer = await directory.post(self._order, None)
        answer = await directory.post(str(order.get("certificate")), None)
        try:
            chain = x509.load_pem_x509_certificates(answer.body)
        except ValueError as error:
            raise AcmeUnreachable("the CA's certificate cannot be read") from error
        encoded = [IssuedCertificate(one.public_bytes(serialization.Encoding.DER)) for one in chain]
        self._chain = encoded[1:]
        return encoded[0]

    def fetch_chain(self, certificate: IssuedCertificate) -> Deferred[list[IssuedCertificate]]:
        """The rest of the chain, which came with the certificate. Alternate chains are not asked for."""
        return succeed(self._chain)
