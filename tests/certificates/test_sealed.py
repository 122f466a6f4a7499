"""Tests for L{burrow.certificates.sealed}: private keys in the store, encrypted."""

import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from burrow.certificates.issued import read_chain
from burrow.certificates.sealed import SHORTEST, SealedKey, Sealer, read_sealer
from burrow.errors import ConfigError
from tests.certificates.acme.fake_ca import issue

KEY = ec.generate_private_key(ec.SECP256R1())
CHAIN = issue(KEY.public_key(), ["a.example"], 0, 100).decode() * 2
ONE, TWO = b"1" * SHORTEST, b"2" * SHORTEST


def opens(sealer, text):
    return sealer.key(text).private_numbers() == KEY.private_numbers()


@pytest.fixture(params=["PKCS8", "TraditionalOpenSSL"])
def text(request):
    """A note as txacme's service, or our own code, puts it together."""
    key = KEY.private_bytes(
        serialization.Encoding.PEM,
        getattr(serialization.PrivateFormat, request.param),
        serialization.NoEncryption(),
    )
    return key.decode() + CHAIN


def test_key_is_encrypted_and_the_chain_is_not(text):
    sealed = Sealer([ONE]).seal(text)
    assert "-----BEGIN ENCRYPTED PRIVATE KEY-----" in sealed
    assert sealed.count("PRIVATE KEY-----") == 2
    assert len(read_chain(sealed)) == 2
    assert sealed.endswith(CHAIN)
    assert opens(Sealer([TWO, ONE]), sealed)
    assert opens(Sealer(), text)
    assert Sealer().seal(text) == text


def test_secrets_that_do_not_open_it(text):
    sealed = Sealer([ONE]).seal(text)
    for sealer in (Sealer(), Sealer([TWO])):
        with pytest.raises(SealedKey, match="--store-key"):
            sealer.key(sealed)


def test_sealed_anew(text):
    """By the first secret, and only if it is not so already."""
    sealer = Sealer([TWO, ONE])
    for before in (text, Sealer([ONE]).seal(text)):
        anew = sealer.sealed_anew(before)
        assert opens(Sealer([TWO]), anew)
        assert sealer.sealed_anew(anew) is None
    assert Sealer().sealed_anew(text) is None
    with pytest.raises(SealedKey):
        sealer.sealed_anew(Sealer([b"3" * SHORTEST]).seal(text))


@pytest.mark.parametrize(
    "broken", ["", CHAIN, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_what_has_no_key(broken):
    for use in (Sealer([ONE]).key, Sealer([ONE]).seal, Sealer([ONE]).sealed_anew):
        with pytest.raises(ValueError, match=r"key|PEM|deserialize|parse"):
            use(broken)


def test_openssl_opens_it(text, tmp_path):
    """The secret decrypts the key without Burrow."""
    (tmp_path / "secret").write_bytes(ONE + b"\n")
    command = ["openssl", "pkey", "-passin", f"file:{tmp_path / 'secret'}", "-pubout"]
    sealed = Sealer([ONE]).seal(text).encode()
    done = subprocess.run(command, input=sealed, capture_output=True, timeout=30)
    assert serialization.load_pem_public_key(done.stdout) == KEY.public_key()


def test_file_of_secrets(text, tmp_path):
    file = tmp_path / "secrets"
    file.write_bytes(b"# the newest first\n" + TWO + b"\n\n  " + ONE + b"\r\n")
    assert opens(Sealer([TWO]), read_sealer(file).seal(text))
    assert opens(read_sealer(file), Sealer([ONE]).seal(text))
    assert not read_sealer(None).seals


@pytest.mark.parametrize(
    "content", [b"", b"\n#\n", b"x" * (SHORTEST - 1), ONE + b"\nshort\n", b"x" * 1001, None]
)
def test_files_of_secrets_that_are_none(content, tmp_path):
    file = tmp_path / "secrets"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_sealer(file)
    assert str(file) in str(caught.value)
    assert "short\n" not in str(caught.value)
