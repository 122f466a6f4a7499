"""Whether a token may have a name that is more than a label: a domain of its user's own, or a wildcard."""

from __future__ import annotations

from burrow.errors import BadOption, NameTaken, Unavailable
from burrow.protocols.base import Reach
from burrow.server.domains import Domains
from burrow.store.base import IStore, Reservation, Taken
from burrow.store.names import is_domain, is_wildcard, twin


class Owning:
    """@param domains: says whose a domain is."""

    def __init__(self, store: IStore, domains: Domains) -> None:
        self._store = store
        self._domains = domains

    async def check(self, wanted: Reservation, reach: Reach) -> Reservation | None:
        """
        A domain is its owner's as DNS says. Whose a wildcard is, the store says when it is reserved.

        @return: the reservation of a domain that is there in place of a proof: see L{confirm}.
        @raise Refused: the token may not have the name, or the kind has no use for it.
        @raise StoreError: the store cannot tell whether the domain is the token's already.
        """
        name = wanted.name
        if (is_domain(name) or is_wildcard(name)) and reach not in (Reach.HOST, Reach.SNI):
            where = "it is private" if reach is Reach.NOWHERE else "its visitors come to a port"
            label = twin(name) or name.partition(".")[0]
            raise BadOption(
                f"{name} is for tunnels whose visitors come by host, and this one has none, since {where}: "
                f"write --name {label}"
            )
        if not is_domain(name):
            return None
        try:
            known: Reservation | None = await self._store.reservation(name)
        except Taken as error:
            raise NameTaken(str(error)) from error  # its record cannot be read
        if known is None:
            await self._domains.check(name, wanted.token)
        return known

    async def confirm(self, kept: Reservation, seen: Reservation | None) -> None:
        """
        A name was reserved. @param seen: what L{check} returned.

        @raise Unavailable: the domain was released between the two, and reserved anew without a proof, which
            is undone.
        """
        if seen is not None and kept.created != seen.created:
            await self._store.release(kept.name, kept.token)
            raise Unavailable(f"{kept.name} was released while it was being opened; the agent tries again")
