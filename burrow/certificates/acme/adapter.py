"""
L{Directory} as txacme's AcmeIssuingService uses a client: its methods, and the objects that it reads.

txacme was written for an earlier ACME; its service calls C{register} and C{agree_to_tos} once, and for each
certificate C{request_challenges}, C{answer_challenge}, C{poll}, C{request_issuance} and C{fetch_chain}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attr
from acme import messages
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from twisted.internet.defer import Deferred, succeed
from txacme.interfaces import ICertificateStore
from zope.interface import implementer

from burrow.certificates.acme.client import Directory, Order, PollInterval
from burrow.certificates.acme.problems import AcmeProblem, OrderInvalid, problem_of

_STATUS = {
    "pending": messages.STATUS_PENDING,
    "processing": messages.STATUS_PROCESSING,
    "valid": messages.STATUS_VALID,
}


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
        """The key authorization (RFC 8555 section 8.1)."""
        return f"{self.token}.{thumbprint}"


@attr.frozen
class _Identifier:
    value: str


@attr.frozen
class AuthorizationBody:
    """See RFC 8555 section 7.1.4. @ivar status: one of L{acme.messages}."""

    identifier: _Identifier
    status: Any
    challenges: list[Challenge]

    @property
    def resolved_combinations(self) -> list[tuple[Challenge]]:
        """The sets of challenges of which one must be answered: each challenge is enough."""
        return [(challenge,) for challenge in self.challenges]


@attr.frozen
class Authorization:
    """An authorization and its URL."""

    uri: str
    body: AuthorizationBody


@attr.frozen
class IssuedCertificate:
    """One certificate of a chain. @ivar body: DER."""

    body: bytes


def authorization_of(url: str, fields: dict[str, Any]) -> Authorization:
    """A CA's answer as an object."""
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
    One order, as AcmeIssuingService's client.

    @ivar key: the argument of L{Challenge.response}: the thumbprint of the account's key; empty until the
        order is made. @param directory: returns the CA; called when the order is made.
    @param replaces: called with the name; returns the certificate that this order renews, if any.
    @param finalizing: called with the name and True before the CA is asked to issue, which cannot be taken
        back; and with False if the CA answers that it did not issue.
    """

    def __init__(
        self,
        directory: Callable[[], Awaitable[Directory]],
        replaces: Callable[[str], x509.Certificate | None],
        finalizing: Callable[[str, bool], None],
    ) -> None:
        self.key = ""
        self._find_directory = directory
        self._directory: Directory
        self._order: Order
        self._replaces = replaces
        self._finalizing = finalizing
        self._name = ""
        self._chain: list[IssuedCertificate] = []
        self._interval = PollInterval()

    def register(self, registration: Any) -> Deferred[Any]:
        """Nothing to do: L{Directory} makes the account when it is first needed."""
        return succeed(registration)

    def agree_to_tos(self, registration: Any) -> Deferred[Any]:
        """Nothing to do: the request for the account agrees."""
        return succeed(registration)

    def request_challenges(self, identifier: Any) -> Deferred[Authorization]:
        """Make the order; fires with its one authorization."""
        return Deferred.fromCoroutine(self._new_order(str(identifier.value)))

    async def _new_order(self, name: str) -> Authorization:
        self._name = name
        self._directory = await self._find_directory()
        self.key = self._directory.thumbprint
        self._order = await self._directory.new_order(name, self._replaces(name))
        url = self._order.authorization
        return authorization_of(url, (await self._directory.authorization(url))[0])

    def answer_challenge(self, challenge: Challenge, response: str) -> Deferred[None]:
        """Tell the CA that it can validate the challenge now."""
        return Deferred.fromCoroutine(self._directory.answer_challenge(challenge.url))

    def poll(self, authorization: Authorization) -> Deferred[tuple[Authorization, float]]:
        """Request the state of the authorization; fires with it, and the seconds until the next request."""
        return Deferred.fromCoroutine(self._poll(authorization.uri))

    async def _poll(self, url: str) -> tuple[Authorization, float]:
        fields, retry_after = await self._directory.authorization(url)
        return authorization_of(url, fields), self._interval.next(retry_after)

    def request_issuance(self, request: Any) -> Deferred[IssuedCertificate]:
        """Finalize the order with a CSR; fires with the certificate."""
        der = request.csr.public_bytes(serialization.Encoding.DER)
        return Deferred.fromCoroutine(self._issue(der))

    async def _issue(self, csr: bytes) -> IssuedCertificate:
        self._finalizing(self._name, True)
        try:
            answer = await self._directory.finalize(self._order, csr)
        except AcmeProblem as problem:
            self._finalizing(self._name, problem.kind == "serverInternal")
            raise
        try:
            url = await self._directory.until_issued(self._order, answer)
        except OrderInvalid:
            self._finalizing(self._name, False)
            raise
        chain = await self._directory.chain(url)
        encoded = [IssuedCertificate(one.public_bytes(serialization.Encoding.DER)) for one in chain]
        self._chain = encoded[1:]
        return encoded[0]

    def fetch_chain(self, certificate: IssuedCertificate) -> Deferred[list[IssuedCertificate]]:
        """The rest of the chain, which came with the certificate."""
        return succeed(self._chain)


@implementer(ICertificateStore)
class CertificateStore:
    """
    Where AcmeIssuingService puts what it got. Its regular check, C{as_dict}, calls C{check}; it finds nothing
    to renew itself, since L{burrow.certificates.acme.renewals} knows more of when and where to.

    @param issued: called with a name, and key and chain in PEM form.
    """

    def __init__(
        self,
        issued: Callable[[str, str], Awaitable[None]],
        check: Callable[[], Awaitable[None]],
    ) -> None:
        self._issued = issued
        self._check = check

    def get(self, server_name: str) -> Deferred[Any]:
        """See L{ICertificateStore}: not used."""
        raise KeyError(server_name)

    def store(self, server_name: str, pem_objects: list[Any]) -> Deferred[None]:
        """See L{ICertificateStore}."""
        text = "".join(one.as_text() for one in pem_objects)

        async def keep() -> None:
            await self._issued(server_name, text)

        return Deferred.fromCoroutine(keep())

    def as_dict(self) -> Deferred[dict[str, list[Any]]]:
        """See L{ICertificateStore}: fires with an empty one, after the check."""

        async def check() -> dict[str, list[Any]]:
            await self._check()
            return {}

        return Deferred.fromCoroutine(check())
