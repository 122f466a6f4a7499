"""A certificate that a CA issued: its text in the store, its TLS context, and when it is renewed."""

from __future__ import annotations

import random
from collections.abc import Callable

import attr
from cryptography import x509
from OpenSSL import SSL


@attr.define
class Issued:
    """
    A certificate, ready for handshakes.

    @ivar text: key and chain in PEM form, as in the store. @ivar loaded: when it was last read from the
    store, in seconds since the epoch.
    """

    text: str
    leaf: x509.Certificate
    context: SSL.Context
    loaded: float = 0.0

    @property
    def expires(self) -> float:
        """Seconds since the epoch."""
        return self.leaf.not_valid_after_utc.timestamp()


def renewal_time(leaf: x509.Certificate, uniform: Callable[[float, float], float] = random.uniform) -> float:
    """
    When to renew, in seconds since the epoch: at two thirds of the lifetime, or up to a twentieth of it
    earlier, so that certificates that were issued together are not renewed together.
    """
    begins, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    lifetime = ends - begins
    return begins + lifetime * (2 / 3 - uniform(0.0, 0.05))


def read_chain(text: str) -> list[x509.Certificate]:
    """The chain in a text from the store, the leaf first. @raise ValueError: it holds no certificates."""
    return x509.load_pem_x509_certificates(text.encode())
