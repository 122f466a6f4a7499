"""A certificate from files: a wildcard's, or one with all names. Read again when the files change."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from burrow.certificates.base import ICertificates, names_of, server_context
from burrow.errors import ConfigError
from burrow.mux.control import CertificateFailed

LOOK_EVERY = 10.0
"""Seconds between two looks at the files, at most; a handshake's look costs two stat calls."""


def covers(certificate: x509.Certificate, name: str) -> bool:
    """Whether a certificate is for C{name} (RFC 9525 section 6.3: a wildcard stands for one label)."""
    return not names_of(certificate).isdisjoint((name, "*." + name.partition(".")[2]))


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
        self._chain, self._context = self._load()

    def _look(self) -> tuple[float, ...]:
        try:
            return tuple(file.stat().st_mtime for file in (self._cert_file, self._key_file))
        except OSError as error:
            raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from error

    def _load(self) -> tuple[list[x509.Certificate], SSL.Context]:
        try:
            chain = x509.load_pem_x509_certificates(self._cert_file.read_bytes())
            key = serialization.load_pem_private_key(self._key_file.read_bytes(), None)
            context = server_context(key, chain)
            context.check_privatekey()
            return chain, context
        except OSError as error:
            raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from error
        except (ValueError, TypeError, SSL.Error) as error:
            text = f"{self._cert_file} and {self._key_file} are not a certificate and its key in PEM form"
            raise ConfigError(f"{text}: {error}") from error

    def _refresh(self) -> None:
        now = self._clock.seconds()
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._chain, self._context = self._load()
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
