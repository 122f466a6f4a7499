"""
Which certificate authorities a TLS client trusts: those of the operating system, or those of one file alone.
Used by agents for servers, by servers for CAs, Redis and other nodes, and by upstreams over https.
"""

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
    Parse the certificates in C{pem}. C{source} names the file in the error.

    @raise ConfigError: there is no certificate, or one cannot be parsed.
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
    The certifi bundle, and on Windows also the roots of the operating system. For macOS and Windows, where
    the OpenSSL in the wheels of cryptography does not find the system's roots.
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
    An L{IOpenSSLTrustRoot} with the certificates in C{ca_pem}, else those in C{ca_file}, else the system's.

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
