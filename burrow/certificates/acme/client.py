"""
An ACME client (RFC 8555): one L{Directory} is one CA, with its URLs, its nonces and our account there.

All requests but those for the directory, for nonces and for renewal information are POST requests with a
signed body (section 6.2). L{burrow.certificates.acme.adapter} gives txacme what it needs of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import attr
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.task import deferLater

from burrow.certificates.acme.jws import decode, encode, public_jwk, signed, thumbprint
from burrow.certificates.acme.problems import URN, AcmeProblem, AcmeUnreachable, OrderInvalid, problem_of
from burrow.certificates.acme.renewal_info import read_window, renewal_id
from burrow.certificates.acme.transport import Answer, Transport

NONCE_TRIES = 30
"""How often one request is sent while the CA refuses its nonce."""

POLL_FIRST, POLL_LIMIT = 0.05, 5.0
"""Seconds between two requests for the state of an order or authorization: first, and at most."""

ISSUE_FOR = 60.0
"""Seconds in which a CA must issue after the order was finalized."""


@attr.frozen
class ExternalAccount:
    """An external account binding (section 7.3.4): what the CA gave. @ivar key: base64url."""

    kid: str
    key: str = attr.field(repr=False)


@attr.frozen
class Order:
    """
    An order (section 7.1.3) with one authorization, since it is for one name.

    @ivar url: where its state is. @ivar finalize: where the CSR is sent. @ivar authorization: its URL.
    """

    url: str
    finalize: str
    authorization: str


class PollInterval:
    """Seconds between requests for one state: half as long again each time, up to L{POLL_LIMIT}."""

    def __init__(self) -> None:
        self._delay = POLL_FIRST

    def next(self, retry_after: float | None) -> float:
        """Seconds until the next request. @param retry_after: what the CA asks for, if it does."""
        delay, self._delay = self._delay, min(self._delay * 1.5, POLL_LIMIT)
        return max(delay, min(retry_after or 0.0, POLL_LIMIT))


class Directory:
    """
    One CA.

    @param url: of its directory. @param key: our account's key, a P-256 one.
    @param email: for the account; empty for none.
    @param trust_root: which CAs may vouch for its HTTPS server.
    @param profile: the kind of certificate to ask for; empty for the CA's default.
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
        self._key = key
        self._reactor = reactor
        self._email = email
        self._external = external
        self._account = ""
        self._urls: dict[str, Any] = {}
        self._creating = DeferredLock()
        self._transport = Transport(reactor, url, trust_root)

    def close(self) -> Deferred[None]:
        """Close the idle connections. Fires when they are closed."""
        return self._transport.close()

    @property
    def thumbprint(self) -> str:
        """Of the account's key (RFC 7638): key authorizations contain it (section 8.1)."""
        return thumbprint(self._key)

    # -- requests -----------------------------------------------------------------------------------------

    async def urls(self) -> dict[str, Any]:
        """The directory (section 7.1.1). It is requested once."""
        if not self._urls:
            answer = await self._transport.request("GET", self.url)
            urls = answer.json() if answer.status == 200 else {}
            if not {"newNonce", "newAccount", "newOrder"} <= urls.keys():
                raise AcmeUnreachable(f"{self.url} is no ACME directory (HTTP status {answer.status})")
            self._urls = urls
        return self._urls

    async def _post(self, url: str, payload: dict[str, Any] | None, *, new_account: bool = False) -> Answer:
        """
        Send a signed request; a payload of None makes it a POST-as-GET (section 6.3).

        @raise AcmeProblem: the CA refuses it. @raise AcmeUnreachable: it gives no ACME answer.
        """
        signer = {"jwk": public_jwk(self._key)} if new_account else {"kid": await self.account()}
        for _ in range(NONCE_TRIES):
            nonce = await self._transport.nonce((await self.urls())["newNonce"])
            header = {"nonce": nonce, "url": url, **signer}
            answer = await self._transport.request("POST", url, signed(self._key, header, payload))
            if answer.status < 400:
                return answer
            try:
                fields = answer.json()
            except AcmeUnreachable:
                raise AcmeUnreachable(f"the CA at {self.url} answers HTTP status {answer.status}") from None
            if fields.get("type") != URN + "badNonce":
                break
        wait = self._retry_after(answer)
        raise problem_of(fields, None if wait is None else self._now() + wait)

    def _retry_after(self, answer: Answer) -> float | None:
        return answer.retry_after(self._now())

    # -- the account (section 7.3) --------------------------------------------------------------------------

    async def account(self) -> str:
        """
        The URL of our account. The first call requests it: the CA makes a new one, or answers with the one
        that it has for our key.
        """
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
            header = {"kid": self._external.kid, "url": urls["newAccount"]}
            bound = signed(decode(self._external.key), header, public_jwk(self._key))
            payload["externalAccountBinding"] = json.loads(bound)
        elif (urls.get("meta") or {}).get("externalAccountRequired"):
            raise AcmeProblem(
                "externalAccountRequired",
                f"the CA at {self.url} wants an account that it knows: "
                "give --acme-eab-kid and --acme-eab-key, for the fallback CA --acme-fallback-eab-kid and "
                "--acme-fallback-eab-key",
            )
        answer = await self._post(urls["newAccount"], payload, new_account=True)
        return answer.header("Location")

    # -- orders (sections 7.4 and 7.5) -----------------------------------------------------------------------

    async def new_order(self, name: str, replaced: x509.Certificate | None) -> Order:
        """
        Order a certificate for C{name}.

        @param replaced: the certificate that the new one renews, if any; the CA is told, if it has renewal
            information (RFC 9773 section 5).
        """
        urls = await self.urls()
        payload: dict[str, Any] = {"identifiers": [{"type": "dns", "value": name}]}
        profile = await self._offered_profile()
        if profile:
            payload["profile"] = profile
        if replaced is not None and urls.get("renewalInfo"):
            payload["replaces"] = renewal_id(replaced)
        try:
            answer = await self._post(urls["newOrder"], payload)
        except AcmeProblem as problem:
            if problem.kind == "accountDoesNotExist":
                self._account = ""  # the CA has lost it: a new one is made
            elif "replaces" not in payload or problem.kind not in (
                "alreadyReplaced",
                "malformed",
                "conflict",
            ):
                raise
            payload.pop("replaces", None)
            answer = await self._post(urls["newOrder"], payload)
        fields = answer.json()
        authorization = str((fields.get("authorizations") or [""])[0])
        return Order(answer.header("Location"), str(fields.get("finalize")), authorization)

    async def _offered_profile(self) -> str:
        """
        The profile to ask for (draft-ietf-acme-profiles); empty for none.

        @raise AcmeProblem: the CA has none of that name.
        """
        if self._profile:
            meta = (await self.urls()).get("meta")
            offered = meta.get("profiles") if isinstance(meta, dict) else None
            known = sorted(map(str, offered)) if isinstance(offered, dict) else []
            if self._profile not in known:
                has = "it has " + ", ".join(known[:20]) if known else "it has no profiles"
                text = f"the CA at {self.url} has no profile {self._profile!r}: {has}; see --acme-profile"
                raise AcmeProblem("invalidProfile", text)
        return self._profile

    async def authorization(self, url: str) -> tuple[dict[str, Any], float | None]:
        """The state of an authorization (section 7.1.4), and the answer's Retry-After in seconds."""
        answer = await self._post(url, None)
        return answer.json(), self._retry_after(answer)

    async def answer_challenge(self, url: str) -> None:
        """Tell the CA that it can validate a challenge now (section 7.5.1)."""
        try:
            await self._post(url, {})
        except AcmeProblem as problem:
            # An authorization that is still valid from an earlier order refuses an answer and needs none.
            if problem.kind not in ("malformed", "unauthorized"):
                raise

    async def finalize(self, order: Order, csr: bytes) -> Answer:
        """Ask the CA to issue. @param csr: in DER form. @return: the order's state, for L{until_issued}."""
        return await self._post(order.finalize, {"csr": encode(csr)})

    async def until_issued(self, order: Order, answer: Answer) -> str:
        """
        Request the order's state until the CA has issued.

        @return: the certificate's URL. @raise OrderInvalid: the CA will not issue.
        @raise AcmeUnreachable: it did not within L{ISSUE_FOR} seconds.
        """
        ends = self._reactor.seconds() + ISSUE_FOR
        interval = PollInterval()
        while True:
            fields = answer.json()
            status = fields.get("status")
            if status == "valid":
                return str(fields.get("certificate"))
            if status == "invalid":
                error = fields.get("error") or {"detail": "the order became invalid"}
                raise problem_of(error, kind_of=OrderInvalid)
            if self._reactor.seconds() > ends:
                raise AcmeUnreachable(f"the CA at {self.url} issued nothing within {ISSUE_FOR:.0f} s")
            await deferLater(self._reactor, interval.next(self._retry_after(answer)))
            answer = await self._post(order.url, None)

    async def chain(self, url: str) -> list[x509.Certificate]:
        """Download a certificate (section 7.4.2), the leaf first. Alternate chains are not requested."""
        answer = await self._post(url, None)
        try:
            return x509.load_pem_x509_certificates(answer.body)
        except ValueError as error:
            raise AcmeUnreachable("the CA's certificate cannot be read") from error

    # -- renewal information (RFC 9773) ---------------------------------------------------------------------

    async def informs(self) -> bool:
        """Whether the CA has renewal information. If so, orders tell it what they replace (section 5)."""
        return bool((await self.urls()).get("renewalInfo"))

    async def renewal_window(self, certificate: x509.Certificate) -> tuple[float, float, float] | None:
        """
        When the CA wants a certificate to be renewed: see L{read_window}. None if it does not say.

        @raise ExtensionNotFound: see L{renewal_id}.
        """
        if not await self.informs():
            return None
        base = str((await self.urls())["renewalInfo"])
        answer = await self._transport.request("GET", f"{base.rstrip('/')}/{renewal_id(certificate)}")
        if answer.status != 200:
            return None
        try:
            fields = answer.json()
        except AcmeUnreachable:
            return None
        return read_window(fields, self._retry_after(answer), certificate)
