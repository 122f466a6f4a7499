"""What a visitor showed in TLS."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import crypto

from burrow.server.edge.shown import Shown
from tests.policy.authorities import Signed


class _Connection:
    """One whose peer showed a certificate, as DER."""

    def __init__(self, der):
        self._certificate = crypto.load_certificate(crypto.FILETYPE_ASN1, der)

    def get_peer_certificate(self, *, as_cryptography):
        return self._certificate.to_cryptography() if as_cryptography else self._certificate

    def get_peer_cert_chain(self, *, as_cryptography):
        return [self.get_peer_certificate(as_cryptography=as_cryptography)]


def test_a_certificate_that_only_openssl_reads_is_as_none():
    der = Signed("x").certificate.public_bytes(Encoding.DER)
    version = bytes.fromhex("a003020102")
    assert version in der
    odd = der.replace(version, bytes.fromhex("a003020105"))
    with pytest.raises(x509.InvalidVersion):
        _Connection(odd).get_peer_certificate(as_cryptography=True)
    shown = Shown("t.example.com", None, frozenset(), True)
    shown.connection = _Connection(odd)
    assert shown.presented() is None
    shown.connection = _Connection(der)
    assert shown.presented().leaf.version is x509.Version.v3
