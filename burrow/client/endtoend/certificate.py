"""
The certificate of one host, on the agent: ordered by ACME (RFC 8555), validated through the agent's own
tunnel (TLS-ALPN-01, RFC 8737), kept in a file, renewed at two thirds of its life.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import deferLater
from twisted.logger import Logger

from burrow.certificates.base import server_context
from burrow.certificates.issued import renewal_time
from burrow.clock import DAY
from burrow.errors import BurrowError
from burrow.folders import state_folder, write_whole
from burrow.trust import trust_root
from burrow.wording import at

TRY_AGAIN = (60.0, 600.0, 3600.0)
"""Seconds after a failed order until the next one; the last also after all further ones."""

AT_LEAST = 6 * 3600.0
"""Seconds between a certificate and the order of the next, also where this machine's clock is ahead."""

VALIDATED_WITHIN = 120.0
"""Seconds that a CA has to validate a challenge."""

WAIT = 30.0
"""Seconds that a visitor's handshake waits for the first certificate."""

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


class Authority(NamedTuple):
    """The CA to ask. @ivar ca_file: which CAs may vouch for its server; None for the machine's."""

    directory: str = LETS_ENCRYPT
    email: str = ""
    ca_file: Path | None = None


class NotIssued(BurrowError):
    """The CA issued nothing; the text says why."""


class Certificate:
    """
    @param host: its one name. @param tell: called with an event and a sentence, for the person who runs the
        agent. @param folder: where keys and certificates are kept.
    @ivar context: for handshakes; None before the first certificate.
    @ivar challenge: for the CA's handshake; None while none is open.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        host: str,
        authority: Authority,
        tell: Callable[[str, str], None],
        folder: Path | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.context: SSL.Context | None = None
        self.challenge: SSL.Context | None = None
        self._reactor = reactor
        self._host = host
        self._authority = authority
        self._tell = tell
        self._folder = folder or state_folder() / "end-to-end"
        self._now = now
        self._life: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []

    def start(self) -> None:
        """Have one from now on. Called again, it changes nothing."""
        if self._life is None:
            self._life = Deferred.fromCoroutine(self._live())
            self._life.addErrback(self._ended)

    def stop(self) -> None:
        """Order and renew no more. What there is stays."""
        life, self._life = self._life, None
        if life is not None:
            life.cancel()

    def _ended(self, reason: Any) -> None:
        if not reason.check(CancelledError):
            self.log.failure("the certificate of {host} is renewed no more", reason, host=self._host)

    async def found(self) -> SSL.Context | None:
        """The context for a visitor's handshake; None if there is none within L{WAIT} seconds."""
        if self.context is None:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            try:
                await waiting.addTimeout(WAIT, self._reactor)
            except TimeoutError:
                return None
            finally:
                if waiting in self._waiting:
                    self._waiting.remove(waiting)
        return self.context

    # -- its life -------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        leaf, earliest, failures = self._load(), 0.0, 0
        while True:
            left = 0.0 if leaf is None else max(renewal_time(leaf), earliest) - self._now()
            if left > 0:
                await deferLater(self._reactor, min(left, DAY))  # then looked at again: clocks change
                continue
            try:
                leaf = await self._order()
            except CancelledError:
                raise
            except Exception as error:
                delay = TRY_AGAIN[min(failures, len(TRY_AGAIN) - 1)]
                failures += 1
                if not isinstance(error, BurrowError):
                    self.log.failure("ordering the certificate of {host} failed", host=self._host)
                what = "no certificate" if self.context is None else "no newer certificate"
                why = f"{error or type(error).__name__}; tried again in {delay / 60:.0f} min"
                self._tell("warning", f"{self._host} has {what} yet: {why}")
                await deferLater(self._reactor, delay)
            else:
                failures, earliest = 0, self._now() + AT_LEAST

    @property
    def _file(self) -> Path:
        return self._folder / f"{self._host}.pem"

    def _load(self) -> x509.Certificate | None:
        """Use what is kept, if it is valid. @return: its certificate."""
        try:
            text = self._file.read_bytes()
            key = serialization.load_pem_private_key(text, None)
            chain = x509.load_pem_x509_certificates(text)
            if chain[0].not_valid_after_utc.timestamp() <= self._now():
                return None
            self._use(server_context(key, chain))
        except (OSError, ValueError, SSL.Error):
            return None
        return chain[0]

    def _use(self, context: SSL.Context) -> None:
        self.context = context
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    def _account_key(self) -> ec.EllipticCurvePrivateKey:
        """The key of this machine's account at the CA, made when it is first needed."""
        digest = hashlib.sha256(self._authority.directory.encode()).hexdigest()[:16]
        path = self._folder / f"account-{digest}.pem"
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
            if isinstance(key, ec.EllipticCurvePrivateKey):
                return key
        except (OSError, ValueError):
            pass
        made = ec.generate_private_key(ec.SECP256R1())
        write_whole(path, _pem(made))
        return made

    # -- one order ------------------------------------------------------------------------------------------

    async def _order(self) -> x509.Certificate:
        """
        Order a certificate, and use it.

        @raise BurrowError: there is none. @raise OSError: it cannot be kept.
        """
        # Imported when it is needed: an agent without it starts sooner.
        from burrow.certificates.acme.client import Directory

        authority = self._authority
        trust = trust_root(authority.ca_file)
        key = self._account_key()
        directory = Directory(
            self._reactor, authority.directory, key, email=authority.email, trust_root=trust
        )
        try:
            return await self._issue(directory)
        finally:
            self.challenge = None
            await directory.close()

    async def _issue(self, directory: Any) -> x509.Certificate:
        order = await directory.new_order(self._host, None)
        await self._validate(directory, order.authorization)
        key = ec.generate_private_key(ec.SECP256R1())
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(self._host)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        answer = await directory.finalize(order, request.public_bytes(serialization.Encoding.DER))
        chain = await directory.chain(await directory.until_issued(order, answer))
        encoded = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)
        write_whole(self._file, _pem(key) + encoded)
        self._use(server_context(key, chain))
        until = at(chain[0].not_valid_after_utc.timestamp())
        text = f"{self._host} has a certificate until {until}; its key is on this machine alone"
        self._tell("notice", text)
        return chain[0]  # type: ignore[no-any-return]

    async def _validate(self, directory: Any, url: str) -> None:
        """Have the CA validate the name. @raise NotIssued: it does not."""
        from burrow.certificates.acme.adapter import authorization_of
        from burrow.certificates.acme.client import PollInterval
        from burrow.certificates.acme.responder import challenge_context

        interval, answered = PollInterval(), False
        ends = self._reactor.seconds() + VALIDATED_WITHIN
        while True:
            fields, retry_after = await directory.authorization(url)
            if fields.get("status") == "valid":
                return
            challenges = authorization_of(url, fields).body.challenges
            chosen = next((one for one in challenges if one.typ == "tls-alpn-01"), None)
            if fields.get("status") != "pending" or chosen is None:
                why = next((str(one.error) for one in challenges if one.error is not None), "")
                raise NotIssued(f"the CA cannot validate it by TLS-ALPN-01{why and ': '}{why}")
            if self._reactor.seconds() > ends:
                raise NotIssued(f"the CA did not validate it within {VALIDATED_WITHIN:.0f} s")
            if not answered:
                answered = True
                self.challenge = challenge_context(self._host, chosen.response(directory.thumbprint))
                await directory.answer_challenge(chosen.url)
            await deferLater(self._reactor, interval.next(retry_after))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
