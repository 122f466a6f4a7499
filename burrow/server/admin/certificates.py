"""Operations of the admin API on certificates."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cryptography import x509
from twisted.internet.threads import deferToThreadPool

from burrow.certificates.base import names_of
from burrow.certificates.files import FileCertificates
from burrow.certificates.local import LocalCertificates
from burrow.server.admin.api import Call, Handler, only
from burrow.server.admin.describe import Item, certificate_item, leaves_of
from burrow.server.admin.paging import page
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
        now = self._now()
        if isinstance(self._source, LocalCertificates):
            return [
                certificate_item(host, leaf, now, renewed=False) for host, leaf in self._source.leaves.items()
            ]
        if isinstance(self._source, FileCertificates):
            leaf = self._source.leaf
            return [certificate_item(host, leaf, now, renewed=False) for host in sorted(names_of(leaf))]
        errors = await self._store.notes(ERRORS)
        found = await self._store.notes(CERTIFICATES)
        # Thousands take a while to be read.
        pool = self._reactor.getThreadPool()
        leaves: dict[str, x509.Certificate | None] = await deferToThreadPool(
            self._reactor, pool, leaves_of, found
        )
        return [
            certificate_item(host, leaves.get(host), now, errors.get(host))
            for host in sorted({*found, *errors})
        ]
