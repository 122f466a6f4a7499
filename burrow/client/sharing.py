"""The key by which this machine signs share links: made once for each user, and kept in a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from burrow.errors import ConfigError
from burrow.folders import state_folder, write_whole
from burrow.policy.hashed import decoded, encoded
from burrow.policy.share import public_half
from burrow.protocols.access import SHARE_KEY, SHARE_LINKS

_FILE = "share-key"


def share_key(folder: Path, *, new: bool = False) -> Ed25519PrivateKey:
    """
    The key kept in C{folder}; made there if there is none.

    @param new: whether another one is made: the links that were made by the old one open nothing then.
    @raise ConfigError: it can neither be read nor written.
    """
    path = folder / _FILE
    try:
        if path.exists() and not new:
            return _read(path)
        made = encoded(Ed25519PrivateKey.generate().private_bytes_raw()) + "\n"
        write_whole(path, made.encode(), first=not new)
        return _read(path)
    except OSError as error:
        raise ConfigError(
            f"the key of share links cannot be kept in {folder}: {error.strerror}; "
            "set XDG_STATE_HOME to a folder that can be written"
        ) from error


def _read(path: Path) -> Ed25519PrivateKey:
    try:
        return Ed25519PrivateKey.from_private_bytes(decoded(path.read_text(encoding="ascii").strip()))
    except ValueError:
        raise ConfigError(f"{path} holds no key: `burrow share --new-key` makes one") from None


def with_share_key(options: dict[str, Any], environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The options of a tunnel, with the public half of this machine's key where they ask for share links."""
    if not options.get(SHARE_LINKS.key):
        return options
    return {**options, SHARE_KEY.key: public_half(share_key(state_folder(environ)))}
