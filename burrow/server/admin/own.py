"""Operations of the admin API about itself."""

from __future__ import annotations

from typing import Any

from burrow import __version__
from burrow.server.admin.api import Call, Handler, Raw
from burrow.server.admin.openapi import rendered
from burrow.server.admin.paths import JSON
from burrow.server.admin.reading import POLICY, page


class Own:
    """@param node: this node's id. @param domain: the base domain."""

    def __init__(self, node: str, domain: str) -> None:
        self._node = node
        self._domain = domain

    @property
    def handlers(self) -> dict[str, Handler]:
        """See L{Api<burrow.server.admin.api.Api>}."""
        return {"get_openapi": self._openapi, "get_docs": self._docs, "get_whoami": self._whoami}

    async def _openapi(self, call: Call) -> Raw:
        return Raw(rendered(), JSON)

    async def _docs(self, call: Call) -> Raw:
        headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
        return Raw(page(), "text/html; charset=utf-8", headers)

    async def _whoami(self, call: Call) -> dict[str, Any]:
        who = call.who
        return {
            "id": who.id,
            "name": who.name,
            "role": who.role,
            "node": self._node,
            "version": __version__,
            "domain": self._domain,
        }
