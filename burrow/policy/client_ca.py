"""
Certificates that visitors show in TLS (RFC 8446 section 4.4.2), and the CAs that a tunnel believes. No I/O.

OpenSSL builds the chain and checks signatures, times, CA bits, path lengths and name constraints (RFC 5280
section 6). Checked here: that the chain is for the authentication of clients, and that no signature in it is
of a kind that can be forged.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import crypto

from burrow.http.headers import Fields
from burrow.policy.shown import Presented
from burrow.values import parse_path

MAX_CAS = 10
"""CAs of one tunnel, at most."""

MAX_TEXT = 16 * 1024
"""Characters of their certificates in PEM form, at most: they are in the tunnel's lease."""

JUDGED_FOR = 60.0
"""Seconds after which the certificate of a connection that stays open is checked again."""

_BEGIN = "-----BEGIN "
_WEAK = ("md5", "sha1")
_LEAST_BITS = 2048
_CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
_MAX_SANS, _MAX_VALUE = 20, 1000


@dataclass(frozen=True, slots=True)
class CAFile:
    """A value of C{--client-ca} as a person gave it, on the agent alone, which reads the file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class ClientCAs:
    """
    The CAs whose certificates let in.

    @ivar text: their certificates in PEM form.
    """

    text: str
    _cas: tuple[crypto.X509, ...] = field(compare=False, repr=False)

    def __str__(self) -> str:
        return self.text

    def told(self) -> str:
        """The subjects of the CAs (RFC 4514): the certificates may have 16 KiB."""
        return "; ".join(each.to_cryptography().subject.rfc4514_string() for each in self._cas)

    @classmethod
    def read(cls, text: str) -> ClientCAs:
        """@raise ValueError: the text holds no such certificates; it says what to write."""
        try:
            cas = x509.load_pem_x509_certificates(text.encode())
            bits = [each.extensions.get_extension_for_class(x509.BasicConstraints) for each in cas]
        except x509.ExtensionNotFound:
            raise ValueError("write certificates of CAs: one of these is none (CA:TRUE is missing)") from None
        except (ValueError, UnsupportedAlgorithm, crypto.Error):
            raise ValueError("write a file of CAs' certificates in PEM form") from None
        if not all(each.value.ca for each in bits):
            raise ValueError("write certificates of CAs: one of these is none (CA:FALSE)")
        # Of what else the file holds, such as a private key, nothing is sent to the server.
        text = "".join(each.public_bytes(Encoding.PEM).decode() for each in cas)
        if len(cas) > MAX_CAS or len(text) > MAX_TEXT:
            raise ValueError(
                f"write up to {MAX_CAS} CAs' certificates, of {MAX_TEXT} characters: these are {len(cas)}, "
                f"of {len(text)}"
            )
        return cls(text, tuple(crypto.X509.from_cryptography(each) for each in cas))

    def judge(self, presented: Presented, now: float) -> str:
        """
        Why a certificate does not let in; empty if it does. A verdict counts for L{JUDGED_FOR} seconds.

        @param now: seconds since the epoch.
        """
        by, until, verdict = presented.judged
        if by is not self or not until - JUDGED_FOR <= now < until:
            verdict = self._judge(presented, now)
            presented.judged = (self, now + JUDGED_FOR, verdict)
        return verdict

    def _judge(self, presented: Presented, now: float) -> str:
        store = crypto.X509Store()  # a new one: its time can be set once
        store.set_time(datetime.datetime.fromtimestamp(now, datetime.UTC))
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # one that is not its own issuer counts, too
        leaf, *others = (crypto.X509.from_cryptography(each) for each in (presented.leaf, *presented.others))
        try:
            for each in self._cas:
                store.add_cert(each)
            found = crypto.X509StoreContext(store, leaf, others).get_verified_chain()
            chain = [each.to_cryptography() for each in found]
            return _unfit(chain)
        except crypto.X509StoreContextError as error:
            return f"it is not valid here: {error}"
        except Exception:  # of many kinds: the certificate is anybody's
            return "it cannot be read"


def _unfit(chain: list[x509.Certificate]) -> str:
    """Why a valid chain, whose last one is believed, is not for clients; empty if it is."""
    for each in chain[:-1] or chain:
        algorithm = each.signature_hash_algorithm
        key = each.public_key()
        if algorithm is not None and algorithm.name in _WEAK:
            return f"its chain has a signature by {algorithm.name}, which can be forged"
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < _LEAST_BITS:
            return f"its chain has a key of {key.key_size} bits, fewer than {_LEAST_BITS}"
        try:
            usage = each.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except x509.ExtensionNotFound:
            continue  # RFC 5280 section 4.2.1.12: it is for everything
        if not any(one in usage for one in _CLIENT):
            return "it is not for the authentication of clients (its extended key usage lacks clientAuth)"
    return ""


def parse_client_ca(text: str) -> CAFile | ClientCAs:
    """The path of a file; or, as servers are told, what is in it."""
    return ClientCAs.read(text) if text.lstrip().startswith(_BEGIN) else CAFile(parse_path(text))


def identity(leaf: x509.Certificate) -> Fields:
    """Who a certificate is for, as fields for the upstream: see docs/access.md."""
    subject = leaf.subject.rfc4514_string()
    names = _alternatives(leaf)
    common = [str(each.value) for each in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    digest = leaf.fingerprint(SHA256()).hex()
    user = next(iter([*common, *(name.partition(":")[2] for name in names)]), digest)
    told = (
        (b"Burrow-User", user),
        (b"Burrow-User-Certificate-Subject", subject),
        (b"Burrow-User-Certificate-San", ",".join(names)),
        (b"Burrow-User-Certificate-Sha256", digest),
    )
    return [
        (name, value.encode("utf-8", "replace"))
        for name, value in told
        if value and value.isprintable() and len(value) <= _MAX_VALUE
    ]


def _alternatives(leaf: x509.Certificate) -> list[str]:
    """Its subject alternative names, as in C{DNS:a.example.com}; those that a list can have."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    kinds = ((x509.RFC822Name, "email"), (x509.DNSName, "DNS"), (x509.UniformResourceIdentifier, "URI"))
    found = [f"{word}:{value}" for kind, word in kinds for value in names.get_values_for_type(kind)]
    found += [f"IP:{address}" for address in names.get_values_for_type(x509.IPAddress)]
    return [name for name in found[:_MAX_SANS] if "," not in name and name.isprintable()]
