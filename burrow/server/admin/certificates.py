"""Operations of the admin API on certificates."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cryptography import x509
from twisted.internet.threads import deferToThreadPool

from burrow.certificates.base import names_of
from burrow.certificates.files import FileCertificates
from burrow.certificates.issued import read_chain, renewal_time
from burrow.certificates.local import LocalCertificates
from burrow.server.admin.api import Call, Handler, only
from burrow.server.admin.describe import Item, iso
from burrow.server.admin.paging import page
from burrow.shown import escaped
from burrow.store.base import IStore
from burrow.store.spaces import CERTIFICATES, ERRORS


class Certificates:
    """
    @param source: an L{ICertificates<burrow.certificates.base.ICertificates>}; None without TLS.
    """

    def __init__(
        self, reactor: Any, store: IStore, source: Any, now: Callable[[], float] = time.time
    ) -> None:
        self._reactor = reactor
        self._store = store
        self._source = source
        self._now = now

    @property
    def handlers(self) -> dict[str, Handler]:
        """See L{Api<burrow.server.admin.api.Api>}."""
        return {"list_certificates": self._list, "get_certificate": self._get}

    async def _list(self, call: Call) -> Item:
        return page(await self.all(), call.query, lambda item: str(item["host"]))

    async def _get(self, call: Call) -> Item:
        items = {item["host"]: item for item in await self.all()}
        found: Item = only(items.get(call.path["host"].lower()), "certificate", "/certificates")
        return found

    async def all(self) -> list[Item]:
        """All certificates as the API tells them. @raise StoreError: the store does not answer."""
        if self._source is None:
            return []
        if isinstance(self._source, LocalCertificates):
            return [self._item(host, leaf, renewed=False) for host, leaf in self._source.leaves.items()]
        if isinstance(self._source, FileCertificates):
            leaf = self._source.leaf
            return [self._item(host, leaf, renewed=False) for host in sorted(names_of(leaf))]
        errors = await self._store.notes(ERRORS)
        found = await self._store.notes(CERTIFICATES)
        # Thousands take a while to be read.
        pool = self._reactor.getThreadPool()
        leaves: dict[str, x509.Certificate | None] = await deferToThreadPool(
            self._reactor, pool, _read, found
        )
        return [self._item(host, leaves.get(host), errors.get(host)) for host in sorted({*found, *errors})]

    def _item(
        self, host: str, leaf: x509.Certificate | None, error: str | None = None, *, renewed: bool = True
    ) -> Item:
        item: Item = {"host": host, "issuer": None, "not_before": None, "not_after": None}
        if leaf is None:
            return {**item, "state": "failed" if error else "missing", **_error(error)}
        names = leaf.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        issuer = str(names[0].value) if names else leaf.issuer.rfc4514_string()
        ends = leaf.not_valid_after_utc.timestamp()
        due = renewal_time(leaf, lambda low, high: high)
        state = "expired" if ends <= self._now() else "failed" if error else "valid"
        item |= {
            "issuer": escaped(issuer),
            "not_before": iso(leaf.not_valid_before_utc.timestamp()),
            "not_after": iso(ends),
            "state": "due" if state == "valid" and renewed and due <= self._now() else state,
            **_error(error),
        }
        return {**item, "next_try": iso(due)} if renewed else item


def _error(error: str | None) -> Item:
    return {"error": escaped(error)} if error else {}


def _read(texts: dict[str, str]) -> dict[str, x509.Certificate | None]:
    """The leaves in texts of the store; None for what cannot be read."""
    found: dict[str, x509.Certificate | None] = {}
    for host, text in texts.items():
        try:
            found[host] = read_chain(text)[0]
        except (ValueError, IndexError):
            found[host] = None
    return found
