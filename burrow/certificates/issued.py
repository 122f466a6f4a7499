"""A certificate as it is kept in the store, shown in handshakes, and renewed in time."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import attr
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL


@attr.define
class Issued:
    """
    A certificate, ready to be shown.

    @ivar text: key and chain in PEM form, as in the store. @ivar renew_at: seconds since the epoch.
    @ivar ask_at: when to ask the CA again when to renew.
    """

    text: str
    leaf: x509.Certificate
    context: SSL.Context
    renew_at: float
    ask_at: float = 0.0
    looked: float = 0.0

    @property
    def expires(self) -> float:
        """Seconds since the epoch."""
        return self.leaf.not_valid_after_utc.timestamp()

    @property
    def lifetime(self) -> float:
        """Seconds."""
        return self.expires - self.leaf.not_valid_before_utc.timestamp()


def renewal_time(leaf: x509.Certificate, uniform: Callable[[float, float], float] = random.uniform) -> float:
    """At two thirds of the lifetime, up to a twentieth of it earlier, so that many do not come at once."""
    begins, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    lifetime = ends - begins
    return begins + lifetime * (2 / 3 - uniform(0.0, 0.05))


def read_certificate(text: str) -> tuple[Any, list[x509.Certificate]]:
    """Key and chain of what is in the store. @raise ValueError: it is neither."""
    key = serialization.load_pem_private_key(text.encode(), None)
    return key, x509.load_pem_x509_certificates(text.encode())
