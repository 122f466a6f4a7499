"""Whether a token may have a name that is more than a label: a domain of its user's own, or a wildcard."""

from __future__ import annotations

import attr

from burrow.errors import BadOption, NameTaken
from burrow.limits import Limits
from burrow.protocols.base import Reach
from burrow.server.domains import Domains
from burrow.server.hosts import is_domain, is_wildcard, twin
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
            where = "it is private" if reach is Reach.NOWHERE else "its visitors come to a port"
            label = twin(name) or name.partition(".")[0]
            raise BadOption(
                f"{name} is for tunnels whose visitors come by host, and this one has none, since {where}: "
                f"write --name {label}"
            )
        if is_domain(name):
            if await self._store.reservation(name) is None:
                await self._domains.check(name, wanted.token)
            return
        other = None if wanted.assigned else twin(name)
        if other is None:
            return
        if not is_wildcard(name):
            # Who has it has both. It may be known here alone, while the store is away.
            known = await self._store.reservation(name)
            if known is not None and known.token == wanted.token:
                return
        # Nothing is reserved before it is known whose both are.
        owned = await self._store.find_reservations([name, other])
        for each in (name, other):
            if each not in owned:
                owned[each] = await self._store.reservation(each)
            known = owned[each]
            if known is not None and known.token != wanted.token:
                also = "" if each == name else f", and {name} with it"
                raise NameTaken(f"the name {each} belongs to another token{also}")
        if is_wildcard(name):
            await self._keep(attr.evolve(wanted, name=other), owned[other], limits)

    async def _keep(self, parent: Reservation, known: Reservation | None, limits: Limits) -> None:
        """Own the name that a wildcard is under, for as long as the wildcard: it is not freed when unused."""
        if known is None:
            # Of no kind, so that it is nobody's for visitors until it is opened.
            await self._store.reserve(attr.evolve(parent, kind="", upstream="", used=None), limits)
        elif not known.asked:
            await self._store.reserve(attr.evolve(known, asked=True), limits)
