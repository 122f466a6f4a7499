"""Certificate authorities for tests, and the certificates of clients that they sign."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.policy.visiting import NOW

DAY = datetime.timedelta(days=1)
CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)


class Signed:
    """
    A certificate and its key. Without an issuer it signs itself.

    @param ca: whether it may sign others. @param usage: its extended key usage; None without one.
    @param begins, ends: days from L{NOW}, or from C{at}.
    """

    def __init__(
        self,
        name,
        issuer=None,
        *,
        ca=False,
        usage=None,
        names=(),
        begins=-1,
        ends=1,
        at=NOW,
        key=None,
        subject=None,
    ):
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.fromtimestamp(at, datetime.UTC)
        subject = (
            subject if subject is not None else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        )
        signer = issuer or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if issuer is None else issuer.certificate.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins * DAY)
            .not_valid_after(now + ends * DAY)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        self.certificate = builder.sign(signer.key, hashes.SHA256())

    @property
    def pem(self):
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def write(self, folder, *chain):
        """The certificate, with those behind it, and its key as two files."""
        cert, key = folder / "client.pem", folder / "client-key.pem"
        cert.write_text("".join([self.pem, *(each.pem for each in chain)]))
        key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return cert, key
