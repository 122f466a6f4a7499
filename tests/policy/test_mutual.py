"""Mutual TLS: which certificates let in, for which host, and what the service is told."""

import ipaddress
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from burrow.client.client_ca import with_client_ca
from burrow.errors import BadOption, ConfigError
from burrow.policy.bearer import BearerTokens
from burrow.policy.client_ca import JUDGED_FOR, MAX_CAS, CAFile, ClientCAs, parse_client_ca
from burrow.policy.doors import Authentication
from burrow.policy.hashed import parse_token
from burrow.policy.mutual import ClientCertificates
from burrow.policy.shown import Presented
from burrow.protocols.http import HttpProtocol
from burrow.server.given import read_given
from tests.policy.authorities import CLIENT, Signed
from tests.policy.visiting import HOST, NOW, World, ask, outcome, visit

CA = Signed("ca", ca=True, ends=9)
BETWEEN = Signed("between", CA, ca=True, ends=9)
SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)
CAS = ClientCAs.read(CA.pem)


class Shown:
    """What a visitor shows. @param covers: whether the server's certificate is for all hosts."""

    def __init__(self, *signed, name=HOST, asked=True, covers=True):
        self.covers = lambda host: covers
        self.name, self.asked = name, asked
        certificates = [each.certificate for each in signed]
        self._presented = Presented(certificates[0], certificates[1:]) if signed else None

    def presented(self):
        return self._presented


def visitor(*signed, world=None, fields=(), **shown):
    made = visit(world or World(), fields=fields)
    made.shown = Shown(*signed, **shown)
    return made


CHAINS = {
    "signed by it": (CAS, [Signed("a", CA, usage=CLIENT)], 0),
    "for everything": (CAS, [Signed("a", CA)], 0),
    "any usage": (CAS, [Signed("a", CA, usage=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,))], 0),
    "by one between": (CAS, [Signed("a", BETWEEN, usage=CLIENT), BETWEEN], 0),
    "the one between is believed": (ClientCAs.read(BETWEEN.pem), [Signed("a", BETWEEN)], 0),
    "one of several": (ClientCAs.read(Signed("x", ca=True).pem + CA.pem), [Signed("a", CA)], 0),
    "none": (CAS, [], 401),
    "the one between is missing": (CAS, [Signed("a", BETWEEN, usage=CLIENT)], 401),
    "of another of the same name": (CAS, [Signed("a", Signed("ca", ca=True))], 401),
    "its own": (CAS, [Signed("a")], 401),
    "for servers": (CAS, [Signed("a", CA, usage=SERVER)], 401),
    "the one between is for servers": (
        CAS,
        [Signed("a", one := Signed("s", CA, ca=True, usage=SERVER), usage=CLIENT), one],
        401,
    ),
    "signed by a client": (CAS, [Signed("a", one := Signed("c", CA, usage=CLIENT)), one], 401),
    "over": (CAS, [Signed("a", CA, begins=-3, ends=-1, usage=CLIENT)], 401),
    "not begun": (CAS, [Signed("a", CA, begins=1, ends=3, usage=CLIENT)], 401),
    "the one between is over": (
        CAS,
        [Signed("a", one := Signed("b", CA, ca=True, begins=-3, ends=-1)), one],
        401,
    ),
    "a short key": (CAS, [Signed("a", CA, key=rsa.generate_private_key(65537, 1024))], 401),
}


@pytest.mark.parametrize("case", CHAINS)
def test_which_let_in(case):
    cas, chain, status = CHAINS[case]
    made = visitor(*chain)
    assert ask([ClientCertificates(cas)], made) == status
    assert bool(made.identity) == (status == 0)


@pytest.mark.parametrize(("digest", "words"), [("sha1", "signature by sha1"), ("sha256", "")])
def test_signatures_that_can_be_forged(digest, words, tmp_path):
    """Nothing but the openssl program makes them."""
    cert, key = Signed("ca", ca=True, begins=-999, ends=999).write(tmp_path)
    for line in (
        "req -new -newkey rsa:2048 -nodes -keyout k -subj /CN=a -out csr",
        f"x509 -req -in csr -CA {cert} -CAkey {key} -days 900 -{digest} -set_serial 1 -out a.pem",
    ):
        subprocess.run(["openssl", *line.split()], cwd=tmp_path, check=True, capture_output=True)
    leaf = x509.load_pem_x509_certificate((tmp_path / "a.pem").read_bytes())
    verdict = ClientCAs.read(cert.read_text()).judge(Presented(leaf), NOW)
    assert words in verdict
    assert bool(verdict) == bool(words)


@pytest.mark.parametrize(
    ("shown", "status"),
    [
        ({}, 0),
        ({"name": "other.example.com"}, 421),
        ({"name": None}, 421),
        ({"asked": False}, 421),
    ],
)
def test_for_the_host_of_the_handshake_alone(shown, status):
    made = visitor(Signed("a", CA), **shown)
    assert ask([ClientCertificates(CAS)], made) == status
    made = visitor(Signed("a", CA), fields=[("Authorization", "Bearer a-token-of-sixteen")], **shown)
    doors = [BearerTokens([parse_token("a-token-of-sixteen")]), ClientCertificates(CAS)]
    assert ask(doors, made) == 0, "who is let in by another door needs none"


def test_without_tls_of_the_servers_own():
    made = visit(World())
    assert ask([ClientCertificates(CAS)], made) == 401


def test_it_says_what_is_wrong():
    for chain, words in (
        ([], "Show a certificate, in TLS, that is signed by this tunnel's CA"),
        ([Signed("a")], "not valid here: self-signed"),
        ([Signed("a", CA, begins=-3, ends=-1)], "expired"),
        ([Signed("a", CA, usage=SERVER)], "lacks clientAuth"),
    ):
        answer = outcome(Authentication([ClientCertificates(CAS)]).visit(visitor(*chain)))
        assert words in answer.text


def test_it_is_looked_at_again():
    world = World()
    made = visitor(Signed("a", CA, ends=1), world=world)
    door = ClientCertificates(CAS)
    assert ask([door], made) == 0
    world.time = NOW + 86400 - JUDGED_FOR / 2
    assert ask([door], made) == 0
    world.time = NOW + 86400 + JUDGED_FOR
    assert ask([door], made) == 401
    world.time = NOW
    assert ask([door], made) == 0, "the clock went back"
    assert ask([ClientCertificates(ClientCAs.read(Signed("x", ca=True).pem))], made) == 401, "another's CA"


def test_who_it_is():
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Bäcker, Inc"),
            x509.NameAttribute(NameOID.COMMON_NAME, "alice"),
        ]
    )
    names = [
        x509.RFC822Name("alice@example.com"),
        x509.DNSName("a,b"),
        x509.UniformResourceIdentifier("spiffe://x/y"),
        x509.IPAddress(ipaddress.ip_address("10.0.0.1")),
    ]
    leaf = Signed("", CA, subject=subject, names=names)
    made = visitor(leaf)
    assert ask([ClientCertificates(CAS)], made) == 0
    digest = leaf.certificate.fingerprint(hashes.SHA256()).hex().encode()
    assert dict(made.identity) == {
        b"Burrow-User": b"alice",
        b"Burrow-User-Certificate-Subject": "CN=alice,O=Bäcker\\, Inc".encode(),
        b"Burrow-User-Certificate-San": b"email:alice@example.com,URI:spiffe://x/y,IP:10.0.0.1",
        b"Burrow-User-Certificate-Sha256": digest,
    }
    for given, user in (
        ({"names": [x509.DNSName("c.example.com")]}, b"c.example.com"),
        ({}, None),
    ):
        one = Signed("", CA, subject=x509.Name([]), **given)
        made = visitor(one)
        assert ask([ClientCertificates(CAS)], made) == 0
        assert dict(made.identity)[b"Burrow-User"] == (
            user or one.certificate.fingerprint(hashes.SHA256()).hex().encode()
        )


def test_names_that_end_no_field():
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a\r\nX: y")])
    made = visitor(Signed("", CA, subject=subject))
    assert ask([ClientCertificates(CAS)], made) == 0
    assert all(b"\r" not in value and b"\n" not in value for _, value in made.identity)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "PEM"),
        ("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", "PEM"),
        (Signed("a").pem, "CA:FALSE"),
        (CA.pem + Signed("a").pem, "CA:FALSE"),
        (CA.pem * (MAX_CAS + 1), f"these are {MAX_CAS + 1}"),
    ],
)
def test_files_that_are_not_possible(text, words, tmp_path):
    file = tmp_path / "ca.pem"
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"--client-ca .*{words}"):
        with_client_ca({"client-ca": parse_client_ca(str(file))})


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="--client-ca: cannot read"):
        with_client_ca({"client-ca": CAFile(tmp_path / "none")})


def test_of_the_file_the_certificates_alone_are_sent(tmp_path):
    cert, key = CA.write(tmp_path)
    file = tmp_path / "both.pem"
    file.write_text("notes\n" + key.read_text() + cert.read_text())
    sent = str(with_client_ca({"client-ca": CAFile(file)})["client-ca"])
    assert sent == CA.pem
    assert read_given(HttpProtocol(), {"client-ca": sent})["client-ca"] == CAS


def test_a_server_reads_no_file_of_its_own(tmp_path):
    with pytest.raises(BadOption, match="client-ca is no certificate in PEM form"):
        read_given(HttpProtocol(), {"client-ca": str(CA.write(tmp_path)[0])})
