"""
A key and its certificate in two files, made and replaced together.

No file system replaces two files in one step. So both are first written completely beside the old ones, and
then renamed, the key before the certificate. L{Pair.read} finishes a replacement that was interrupted.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from burrow.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows, where one process serves
    fcntl = None  # type: ignore[assignment]

_NEW = ".new"


class Pair:
    """@param key_file: in PEM form, readable by its owner alone. @param cert_file: in PEM form."""

    def __init__(self, key_file: Path, cert_file: Path) -> None:
        self.key_file = key_file
        self.cert_file = cert_file

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """A context manager: no other process makes or replaces the pair meanwhile. The folder must exist."""
        if fcntl is None:
            yield
            return
        folder = os.open(self.key_file.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def write(self, key: Any, certificate: x509.Certificate) -> None:
        """Replace both. @raise OSError: they cannot be written; the old ones stay."""
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write(_new(self.key_file), secret, 0o600)
        _write(_new(self.cert_file), certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        self._finish(self.key_file, self.cert_file)

    def read(self) -> tuple[Any, x509.Certificate] | None:
        """
        A key and the certificate for it; None if there are no two files that belong together.

        @raise ConfigError: a file cannot be read, or is no key or certificate.
        """
        for key_file in (self.key_file, _new(self.key_file)):
            for cert_file in (self.cert_file, _new(self.cert_file)):
                key, certificate = _read_key(key_file), _read_certificate(cert_file)
                if key is None or certificate is None or key.public_key() != certificate.public_key():
                    continue
                if (key_file, cert_file) != (self.key_file, self.cert_file):
                    self._finish(self.key_file, self.cert_file)
                return key, certificate
        return None

    @staticmethod
    def _finish(*files: Path) -> None:
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                _new(file).replace(file)


def _new(file: Path) -> Path:
    return file.with_name(file.name + _NEW)


def _write(file: Path, data: bytes, mode: int) -> None:
    """Make a new file with the permissions C{mode} and sync it to the disk."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())


def _bytes_of(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error


def _read_key(file: Path) -> Any:
    data = _bytes_of(file)
    try:
        return None if data is None else serialization.load_pem_private_key(data, None)
    except (TypeError, ValueError) as error:
        if file.name.endswith(_NEW):
            return None  # writing it was interrupted
        raise ConfigError(
            f"{file} is no private key in PEM form: {error}; remove it, and a new one is made"
        ) from error


def _read_certificate(file: Path) -> x509.Certificate | None:
    data = _bytes_of(file)
    try:
        return None if data is None else x509.load_pem_x509_certificate(data)
    except ValueError as error:
        if file.name.endswith(_NEW):
            return None
        raise ConfigError(
            f"{file} is no certificate in PEM form: {error}; remove it, and a new one is made"
        ) from error
