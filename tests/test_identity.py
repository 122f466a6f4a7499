"""Tests for L{burrow.identity}: handshakes in memory, with certificates of one CA that is trusted."""

import datetime
import ipaddress
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from service_identity import VerificationError
from twisted.internet.ssl import Certificate, trustRootFromCertificates

from burrow.identity import HttpsPolicy, client_tls


def named(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])


class Authority:
    """Issues a certificate of any form. C{trust}: of a client that trusts it."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.root = self._sign(named("a CA"), self.key, [x509.BasicConstraints(True, None)])
        self.trust = trustRootFromCertificates([Certificate(crypto.X509.from_cryptography(self.root))])

    def _sign(self, subject, key, extensions):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(named("a CA"), subject, key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def server(self, common_name, names):
        """A server's context."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(
            named(common_name), key, [x509.SubjectAlternativeName(names)] if names else []
        )
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_privatekey(crypto.PKey.from_cryptography_key(key))
        context.use_certificate(crypto.X509.from_cryptography(certificate))
        return context


@pytest.fixture(scope="module")
def authority():
    return Authority()


class Tls:
    """What Twisted's TLS is for a connection."""

    factory = SimpleNamespace(wrappedFactory=None)
    failure = None

    def failVerification(self, failure):
        self.failure = failure


def shake_hands(creator, context):
    """@return: whether both are done; and why the client refuses, if its check says so."""
    tls = Tls()
    client, server = creator.clientConnectionForTLS(tls), SSL.Connection(context, None)
    client.set_connect_state()
    server.set_accept_state()
    done = set()
    for _ in range(6):
        for end, other in ((client, server), (server, client)):
            try:
                end.do_handshake()
                done.add(end)
            except SSL.WantReadError:
                pass
            except SSL.Error:
                return False, tls.failure
            try:
                other.bio_write(end.bio_read(65_536))
            except SSL.WantReadError:
                pass
    return len(done) == 2, tls.failure


DNS, IP = x509.DNSName, lambda text: x509.IPAddress(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    ("name", "common_name", "names"),
    [
        ("a.example", "", [DNS("a.example")]),
        ("a.example", "", [DNS("b.example"), DNS("*.example.org"), DNS("a.example")]),
        ("a.example.org", "", [DNS("*.example.org")]),
        ("localhost", "", [DNS("*.localhost"), DNS("localhost"), DNS("*"), DNS("127.0.0.1")]),
        ("127.0.0.1", "", [DNS("127.0.0.1"), IP("127.0.0.1")]),
        ("127.0.0.1", "", [IP("127.0.0.1")]),
        ("::1", "", [IP("::1")]),
        ("bücher.example", "", [DNS("xn--bcher-kva.example")]),
    ],
)
def test_certificate_for_the_name(authority, name, common_name, names):
    context = authority.server(common_name, names)
    assert shake_hands(client_tls(name, authority.trust), context) == (True, None)


@pytest.mark.parametrize(
    ("name", "common_name", "names"),
    [
        ("a.example", "a.example", []),  # RFC 9525 section 2: the common name counts for nothing
        ("a.example", "alice", []),
        ("a.lan", "", [DNS("*.lan")]),
        ("a.localhost", "", [DNS("*.localhost")]),
        ("a.example", "", [DNS("*")]),
        ("a.example", "", [DNS("*.lan"), DNS("b.example")]),
        ("a.example", "", [DNS("b.example")]),
        ("a.b.example.org", "", [DNS("*.example.org")]),
        ("a.example", "", [DNS("*.*.example")]),
        ("a.example", "", [IP("127.0.0.1")]),
        ("a.example", "", [x509.RFC822Name("alice@a.example")]),
        ("127.0.0.1", "", [DNS("127.0.0.1")]),
        ("127.0.0.1", "127.0.0.1", []),
        ("127.0.0.1", "", [IP("127.0.0.2")]),
    ],
)
def test_any_other_certificate_ends_the_handshake(authority, name, common_name, names):
    context = authority.server(common_name, names)
    done, failure = shake_hands(client_tls(name, authority.trust), context)
    assert not done
    assert failure.check(VerificationError)


def test_certificate_of_another_ca(authority):
    context = Authority().server("", [DNS("a.example")])
    assert shake_hands(client_tls("a.example", authority.trust), context) == (False, None)


@pytest.mark.parametrize("protocols", [None, [b"h2"]])
def test_protocols_are_asked_for(authority, protocols):
    context = authority.server("", [DNS("a.example")])
    asked = []
    context.set_alpn_select_callback(lambda _, offered: asked.append(offered) or offered[0])
    assert shake_hands(client_tls("a.example", authority.trust, protocols), context)[0]
    assert asked == ([protocols] if protocols else [])


def test_https_policy(authority):
    policy = HttpsPolicy(authority.trust)
    context = authority.server("", [DNS("a.example"), IP("::1")])
    assert shake_hands(policy.creatorForNetloc(b"a.example", 443), context)[0]
    assert shake_hands(policy.creatorForNetloc(b"[::1]", 443), context)[0]
    assert not shake_hands(policy.creatorForNetloc(b"b.example", 443), context)[0]
