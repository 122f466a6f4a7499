"""
The certificates of this server's names: in the store for all nodes, in memory with their TLS context for
handshakes here, and in files while the store cannot be written.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from cryptography import x509
from twisted.logger import Logger

from burrow.batches import Batches
from burrow.certificates.acme.plans import Plan, Plans
from burrow.certificates.acme.single_flight import SingleFlight
from burrow.certificates.acme.unwritten import Unwritten
from burrow.certificates.base import server_context
from burrow.certificates.issued import Issued, read_chain
from burrow.certificates.sealed import SealedKey, Sealer
from burrow.errors import CertificateFailed, StoreError
from burrow.store.base import IStore
from burrow.store.spaces import CERTIFICATES, ERRORS

MAX_CONTEXTS = 2048
"""Certificates in memory, at most; the one that was loaded longest ago is dropped first."""


class Cache:
    """
    @param sealer: encrypts the private keys in the store. @param plans: gets each certificate.
    @param unwritten: keeps certificates until the store can be written. @param now: seconds since the epoch.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        store: IStore,
        sealer: Sealer,
        unwritten: Unwritten,
        plans: Plans,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._unwritten = unwritten
        self._plans = plans
        self._now = now
        self._known: OrderedDict[str, Issued] = OrderedDict()
        self._loading = SingleFlight()
        self._finding: Batches[str | None] = Batches(
            clock,
            lambda names: self._store.find_notes(CERTIFICATES, names),
            "the store cannot tell now whether the host has a certificate",
        )

    def __len__(self) -> int:
        """How many certificates are in memory."""
        return len(self._known)

    @property
    def names(self) -> list[str]:
        """The names whose certificates are in memory."""
        return list(self._known)

    def start(self) -> None:
        """
        Load the certificates that were kept in files before a restart.

        @raise CertificateFailed: see L{load}.
        """
        for name in self._unwritten.read():
            self._take(name, self._unwritten.get(name) or "")

    def get(self, name: str) -> Issued | None:
        """A certificate in memory."""
        return self._known.get(name)

    def leaf(self, name: str) -> x509.Certificate | None:
        """The certificate that a name has now, as far as this node knows; without its key."""
        known = self._known.get(name)
        if known is not None:
            return known.leaf
        plan = self._plans.get(name)
        return None if plan is None else plan.leaf

    def valid(self, known: Issued | None) -> bool:
        """Whether there is a certificate, and it has not expired."""
        return known is not None and known.expires > self._now()

    async def load(self, name: str) -> Issued | None:
        """
        Read a name's certificate from the store.

        @raise CertificateFailed: its key cannot be decrypted. @raise StoreError: the store is away.
        """
        await self._loading.do(name, self._load)
        return self._known.get(name)

    async def find(self, name: str) -> Issued | None:
        """
        As L{load}, of a host that strangers may have made up: the store is asked about all such hosts
        together. Raises the same.
        """
        text = self._unwritten.get(name) or await self._finding.ask(name)
        if text is not None and name not in self._known:  # else it was issued or loaded meanwhile
            self._take(name, text)
        return self._known.get(name)

    async def _load(self, name: str) -> None:
        text = await self._store.note(CERTIFICATES, name)
        text = self._unwritten.get(name) or text
        if text is not None:
            self._take(name, text)
        elif name in self._known:
            # The store has lost it: write it again.
            await self._store.swap_note(CERTIFICATES, name, None, self._known[name].text)
            self._known[name].loaded = self._now()

    def _take(self, name: str, text: str) -> None:
        """Use this certificate from now on. @raise CertificateFailed: its key cannot be decrypted."""
        known = self._known.get(name)
        if known is None or known.text != text:
            try:
                key, chain = self._sealer.key(text), read_chain(text)
            except SealedKey as error:
                raise CertificateFailed(f"the certificate of {name}: {error}") from error
            except ValueError as error:
                self.log.error(
                    "cannot use the certificate of {name} in the store: {error}", name=name, error=error
                )
                return
            known = Issued(text, chain[0], server_context(key, chain))
            while len(self._known) >= MAX_CONTEXTS:
                self._known.popitem(last=False)
            self._known[name] = known
        self._plans.take(name, known.leaf)
        known.loaded = self._now()
        self._known.move_to_end(name)

    async def save(self, name: str, text: str) -> Plan:
        """
        A CA has issued a certificate: use it, and write it to the store, now or once the store can.

        @param text: key and chain in PEM form. @return: the name's new plan.
        """
        text = self._sealer.seal(text)
        self._take(name, text)
        try:
            await self._store.put_note(CERTIFICATES, name, text)
            await self._store.swap_note(ERRORS, name, await self._store.note(ERRORS, name), None)
        except StoreError as error:
            self._unwritten.keep(name, text)
            self.log.error(
                "cannot write the new certificate of {name} to the store, which is tried again: {error}",
                name=name,
                error=error,
            )
        return self._plans.take(name, self._known[name].leaf)
