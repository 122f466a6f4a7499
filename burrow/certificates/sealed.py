"""
Encrypts private keys in the store with secrets from a file (C{--store-key}), for a store that others can
read.

A key is kept as an C{ENCRYPTED PRIVATE KEY} (PKCS #8, RFC 5958; PBES2 with AES-256), which other programs can
read, too. The certificates beside it are not encrypted. For the store, and for C{burrow store migrate}, it is
a text as any other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization

from burrow.errors import BurrowError, ConfigError

SHORTEST = 32
"""Characters of a secret, at least: it is the password of the keys, and must not be found by trying."""

_KEY = re.compile(r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----\n.*?-----END \1PRIVATE KEY-----\n", re.DOTALL)


class SealedKey(BurrowError):
    """A key in the store is encrypted, and none of the known secrets decrypts it."""


class Sealer:
    """@param secrets: the first encrypts, all decrypt; without one, keys are stored unencrypted."""

    def __init__(self, secrets: Sequence[bytes] = ()) -> None:
        self._secrets = list(secrets)

    @property
    def seals(self) -> bool:
        """Whether there is a secret to encrypt with."""
        return bool(self._secrets)

    def seal(self, text: str) -> str:
        """
        Encrypt the private key in C{text}, which is in PEM form. @raise ValueError: there is no key in it.
        """
        return self._written(self.key(text), text) if self.seals else text

    def sealed_anew(self, text: str) -> str | None:
        """
        C{text} with its key encrypted by the first secret; None if the key is so already.

        @raise ValueError: there is no key in it. @raise SealedKey: no secret decrypts it.
        """
        if not self.seals:
            return None
        block = _block(text)
        if "ENCRYPTED" in block:
            try:
                serialization.load_pem_private_key(block.encode(), self._secrets[0])
            except ValueError:
                pass
            else:
                return None
        return self.seal(text)

    def key(self, text: str) -> Any:
        """
        The private key in C{text}, which may be encrypted.

        @raise ValueError: there is none. @raise SealedKey: no secret decrypts it.
        """
        block = _block(text)
        if "ENCRYPTED" not in block:
            return serialization.load_pem_private_key(block.encode(), None)
        for secret in self._secrets:
            try:
                return serialization.load_pem_private_key(block.encode(), secret)
            except ValueError:
                continue
        has = "the file of --store-key does not have" if self.seals else "--store-key would give"
        raise SealedKey(f"a private key in the store is encrypted with a secret that {has}")

    def _written(self, key: Any, text: str) -> str:
        block = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(self._secrets[0]),
        ).decode()
        return _KEY.sub(lambda found: block, text, count=1)


def _block(text: str) -> str:
    found = _KEY.search(text)
    if found is None:
        raise ValueError("there is no private key")
    return found[0]


def read_sealer(file: Path | None) -> Sealer:
    """
    A sealer with the secrets in a file, one a line: the first encrypts, all decrypt.

    @raise ConfigError: it cannot be read, or a secret is too short.
    """
    if file is None:
        return Sealer()
    try:
        lines = [line.strip() for line in file.read_bytes().splitlines()]
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}; see --store-key") from error
    secrets = [line for line in lines if line and not line.startswith(b"#")]
    if not secrets or min(map(len, secrets)) < SHORTEST:
        raise ConfigError(
            f"{file} needs a line with a secret of {SHORTEST} characters or more: "
            "`openssl rand -base64 32` makes one"
        )
    if max(map(len, secrets)) > 1000:
        raise ConfigError(f"a secret in {file} is longer than 1000 characters")
    return Sealer(secrets)
