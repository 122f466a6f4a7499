"""
Answers TLS-ALPN-01 challenges (RFC 8737) on the TLS port of any node of the store.

The challenge is kept in the store as long as it is open. A handshake that offers C{acme-tls/1} gets a
certificate that was made for the challenge.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from txacme.interfaces import IResponder
from zope.interface import implementer

from burrow.certificates.acme.adapter import Challenge
from burrow.certificates.base import CHALLENGE, server_context
from burrow.certificates.selfsigned import self_signed
from burrow.store.base import IStore

CHALLENGE_TTL = 600.0
"""Seconds a challenge is open, at most."""

MAX_CONTEXTS = 64
"""Challenges whose certificate is kept in memory, since strangers may request it as often as the CA."""

_SPACE = "acme-challenges"
_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")


@implementer(IResponder)
class TLSALPNResponder:
    """@param store: the nodes' common store."""

    challenge_type = "tls-alpn-01"

    def __init__(self, store: IStore) -> None:
        self._store = store
        self._contexts: OrderedDict[str, tuple[str, SSL.Context]] = OrderedDict()

    def start_responding(self, server_name: str, challenge: Challenge, response: str) -> Any:
        """See txacme's IResponder. Fires when every node can answer."""
        return self._store.put_note(_SPACE, server_name, response, CHALLENGE_TTL)

    def stop_responding(self, server_name: str, challenge: Challenge, response: str) -> Any:
        """See txacme's IResponder."""
        return self._store.swap_note(_SPACE, server_name, response, None)

    async def forget(self, name: str) -> None:
        """Remove the challenge of a name whose order failed: txacme does so only after a validation."""
        response = await self._store.note(_SPACE, name)
        if response is not None:
            await self._store.swap_note(_SPACE, name, response, None)

    async def context(self, name: str) -> SSL.Context | None:
        """The context for a validation's handshake; None if no challenge is open for the name."""
        response = await self._store.note(_SPACE, name)
        if response is None:
            self._contexts.pop(name, None)
            return None
        before, context = self._contexts.get(name, ("", None))
        if context is None or before != response:
            context = challenge_context(name, response)
            while len(self._contexts) >= MAX_CONTEXTS:
                self._contexts.popitem(last=False)
            self._contexts[name] = response, context
        return context


def challenge_context(name: str, key_authorization: str) -> SSL.Context:
    """A self-signed certificate with the acmeIdentifier extension (RFC 8737 section 3), and ALPN for it."""
    digest = hashlib.sha256(key_authorization.encode()).digest()
    # The digest as an OCTET STRING of 32 bytes, in DER.
    identifier = x509.UnrecognizedExtension(_ACME_IDENTIFIER, b"\x04\x20" + digest)
    key, certificate = self_signed("acme-tls/1", x509.DNSName(name), 1, identifier)
    return server_context(key, [certificate], [CHALLENGE])
