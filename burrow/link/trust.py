"""Which certificate authorities an agent believes: those of its machine, or a file's alone."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from typing import Any

from OpenSSL import crypto
from twisted.internet.ssl import Certificate, platformTrust, trustRootFromCertificates

from burrow.errors import ConfigError


def certificates_of(pem: bytes, source: str) -> list[Certificate]:
    """
    The certificates in a PEM file's bytes.

    @raise ConfigError: there is none, or one cannot be read.
    """
    end = b"-----END CERTIFICATE-----"
    blocks = [block + end for block in pem.split(end)[:-1]]
    try:
        certificates = [Certificate.loadPEM(block[block.index(b"-----BEGIN") :]) for block in blocks]
    except (ValueError, crypto.Error):
        certificates = []
    if not certificates:
        raise ConfigError(f"{source} holds no certificate in PEM form")
    return certificates


def bundled_roots() -> list[Certificate]:
    """
    The certifi bundle, and on Windows the system's own roots too: for platforms whose OpenSSL, as
    the cryptography wheels bring it, finds no roots of the system's.
    """
    import certifi

    roots = certificates_of(Path(certifi.where()).read_bytes(), "the certifi bundle")
    enumerate_roots: Any = getattr(ssl, "enum_certificates", None)
    if enumerate_roots is not None:
        system = enumerate_roots("ROOT")
        roots += [
            Certificate.load(der, crypto.FILETYPE_ASN1) for der, kind, _ in system if kind == "x509_asn"
        ]
    return roots


def trust_root(ca_file: Path | None, ca_pem: str = "") -> Any:
    """
    An L{IOpenSSLTrustRoot}: of the authorities in a text, in a file, or this machine's.

    @raise ConfigError: C{ca_file} cannot be read or holds no certificate.
    """
    if ca_pem:
        return trustRootFromCertificates(certificates_of(ca_pem.encode(), "the other side's certificate"))
    if ca_file is not None:
        try:
            pem = ca_file.read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read the CA file {ca_file}: {error.strerror}") from error
        return trustRootFromCertificates(certificates_of(pem, str(ca_file)))
    if sys.platform.startswith(("win", "darwin", "cygwin")):
        return trustRootFromCertificates(bundled_roots())
    return platformTrust()
