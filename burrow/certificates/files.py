"""A certificate from files: a wildcard's, or one with all names. Read again when the files change."""

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

LOOK_EVERY = 10.0
"""Seconds between two looks at the files, at most; a handshake's look costs two stat calls."""


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
            "kind that TLS has not"
        ) from error
    return chain, context


@implementer(ICertificates)
class FileCertificates:
    """
    @param cert_file: the chain in PEM form, the leaf first. @param key_file: its key.
    @raise ConfigError: the files cannot be used now.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, cert_file: Path, key_file: Path) -> None:
        self._clock = clock
        self._cert_file = cert_file
        self._key_file = key_file
        self._stamp = self._look()
        self._looked = clock.seconds()
        self._chain, self._context = read_files(cert_file, key_file)

    def _look(self) -> tuple[float, ...]:
        try:
            return tuple(file.stat().st_mtime for file in (self._cert_file, self._key_file))
        except OSError as error:
            raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from error

    def _refresh(self) -> None:
        now = self._clock.seconds()
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._chain, self._context = read_files(self._cert_file, self._key_file)
                self._stamp = stamp
                self.log.info("read {file} again: it changed", file=str(self._cert_file))
        except ConfigError as error:
            self.log.error("{error}; going on with the certificate from before", error=error)

    def start(self) -> None:
        """See L{ICertificates}: nothing to do."""

    def stop(self) -> Deferred[None]:
        """See L{ICertificates}: nothing to do."""
        return succeed(None)

    def ready(self, name: str) -> Deferred[None]:
        """See L{ICertificates}."""
        self._refresh()
        if covers(self._chain[0], name):
            return succeed(None)
        return fail(CertificateFailed(f"the server's certificate file has no certificate for {name}"))

    def context(self, name: str | None) -> Deferred[SSL.Context | None]:
        """See L{ICertificates}: the one there is, whatever the name."""
        self._refresh()
        return succeed(self._context)

    def challenge(self, name: str | None) -> Deferred[SSL.Context | None]:
        """See L{ICertificates}: no CA is asked."""
        return succeed(None)
