"""Whether a token may have a name that is more than a label: a domain of its user's own, or a wildcard."""

from __future__ import annotations

import attr

from burrow.errors import BadOption, NameTaken
from burrow.limits import Limits
from burrow.protocols.base import Reach
from burrow.server.domains import Domains
from burrow.server.hosts import WILD, is_domain, is_wildcard
from burrow.store.base import IStore, Reservation


class Owning:
    """@param domains: says whose a domain is."""

    def __init__(self, store: IStore, domains: Domains) -> None:
        self._store = store
        self._domains = domains

    async def check(self, wanted: Reservation, reach: Reach, limits: Limits) -> None:
        """
        Who owns C{blog} owns C{*.blog}, and the other way round; a domain is its owner's as DNS says.

        @raise Refused: the token may not have the name, or the kind has no use for it.
        @raise Taken: see L{IStore.reserve}.
        """
        name = wanted.name
        if (is_domain(name) or is_wildcard(name)) and reach not in (Reach.HOST, Reach.SNI):
            raise BadOption(f"{name} is for tunnels whose visitors come by host: this one has none")
        if is_domain(name):
            if await self._store.reservation(name) is None:
                await self._domains.check(name, wanted.token)
        elif is_wildcard(name):
            await self._have(attr.evolve(wanted, name=name.removeprefix(WILD)), limits)
        elif not wanted.assigned:
            known = await self._store.reservation(WILD + name)
            if known is not None and known.token != wanted.token:
                raise NameTaken(f"the name {WILD}{name} belongs to another token, and {name} with it")

    async def _have(self, parent: Reservation, limits: Limits) -> None:
        """Own the name that a wildcard is under."""
        known = await self._store.reservation(parent.name)
        if known is None:
            await self._store.reserve(parent, limits)
        elif known.token != parent.token:
            raise NameTaken(f"the name {parent.name} belongs to another token, and what is under it with it")
