"""A certificate from files: for a wildcard, or for all names. The files are read again when they change."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from burrow.certificates.base import ICertificates, names_of, server_context
from burrow.errors import CertificateFailed, ConfigError

STAT_EVERY = 10.0
"""Seconds after which a handshake looks whether the files changed: two stat calls."""


def covers(certificate: x509.Certificate, name: str) -> bool:
    """Whether a certificate is for C{name} (RFC 9525 section 6.3: a wildcard stands for one label)."""
    return not names_of(certificate).isdisjoint((name, "*." + name.partition(".")[2]))


def read_files(cert_file: Path, key_file: Path) -> tuple[list[x509.Certificate], SSL.Context]:
    """
    A chain, and the TLS context with it and its key.

    @raise ConfigError: a file cannot be read, or does not hold what it should.
    """
    try:
        chain_pem, key_pem = cert_file.read_bytes(), key_file.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename or cert_file}: {error.strerror}") from error
    try:
        chain = x509.load_pem_x509_certificates(chain_pem)
    except ValueError as error:
        raise ConfigError(f"{cert_file} holds no certificate in PEM form") from error
    try:
        key = serialization.load_pem_private_key(key_pem, None)
    except TypeError as error:
        raise ConfigError(f"the private key in {key_file} has a password: store it without") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{key_file} holds no private key in PEM form") from error
    try:
        context = server_context(key, chain)
        context.check_privatekey()
    except (ValueError, TypeError, SSL.Error) as error:
        raise ConfigError(
            f"the private key in {key_file} is not that of the first certificate in {cert_file}, or is of a "
            "kind that TLS does not have"
        ) from error
    return chain, context


@implementer(ICertificates)
class FileCertificates:
    """
    @param cert_file: the chain in PEM form, the leaf first. @param key_file: its key.
    @raise ConfigError: see L{read_files}.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, cert_file: Path, key_file: Path) -> None:
        self._clock = clock
        self._cert_file = cert_file
        self._key_file = key_file
        self._stamp = self._stat()
        self._stat_at = clock.seconds()
        self._chain, self._context = read_files(cert_file, key_file)

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate that is shown now."""
        return self._chain[0]

    def _stat(self) -> tuple[float, ...]:
        try:
            return tuple(file.stat().st_mtime for file in (self._cert_file, self._key_file))
        except OSError as error:
            raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from error

    def _refresh(self) -> None:
        now = self._clock.seconds()
        if now - self._stat_at < STAT_EVERY:
            return
        self._stat_at = now
        try:
            stamp = self._stat()
            if stamp != self._stamp:
                self._chain, self._context = read_files(self._cert_file, self._key_file)
                self._stamp = stamp
                self.log.info(
                    "the certificate file {file} changed and was read again", file=str(self._cert_file)
                )
        except ConfigError as error:
            self.log.error(
                "{error}; the certificate read before is used until the files are right", error=error
            )

    def start(self) -> None:
        """See L{ICertificates}: nothing to do."""

    def stop(self) -> Deferred[None]:
        """See L{ICertificates}: nothing to do."""
        return succeed(None)

    def ready(self, name: str, token: str = "") -> Deferred[None]:
        """See L{ICertificates}."""
        self._refresh()
        if covers(self._chain[0], name):
            return succeed(None)
        return fail(CertificateFailed(f"the server's certificate file has no certificate for {name}"))

    def context(self, name: str | None) -> Deferred[SSL.Context | None]:
        """See L{ICertificates}: the same one for all names."""
        self._refresh()
        return succeed(self._context)

    def challenge(self, name: str | None) -> Deferred[SSL.Context | None]:
        """See L{ICertificates}: none, since no CA validates."""
        return succeed(None)
