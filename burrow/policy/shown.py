"""What rules know of the TLS of a visitor's connection. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from cryptography import x509


class Presented:
    """
    What a visitor showed in its handshake: its certificate, and those behind it.

    @ivar judged: by whom it was judged last, until when that counts, and the verdict: see
        L{ClientCAs.judge<burrow.policy.client_ca.ClientCAs.judge>}.
    """

    __slots__ = ("judged", "leaf", "others")

    def __init__(self, leaf: x509.Certificate, others: Iterable[x509.Certificate] = ()) -> None:
        self.leaf = leaf
        self.others = tuple(others)
        self.judged: tuple[Any, float, str] = (None, 0.0, "")


class IsShown(Protocol):
    """What is known of the TLS of a visitor's connection."""

    __slots__ = ()
    name: str | None
    asked: bool

    def presented(self) -> Presented | None:
        """What the visitor showed; None if nothing, or it was not asked."""
        ...
