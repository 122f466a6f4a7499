"""
Whose a domain is that an agent asks for, before the token gets it.

Two things have to be true. The domain leads here: it is an alias (CNAME) of the base domain or of a name
under it, or all of its addresses are this server's. And whoever holds the token controls it: a TXT record
beside it has a value that is this token's and this domain's. The first alone is true of domains of former
users whose records still lead here, too, which any token could else take over.

It is asked once. From then on the domain is the token's, as a name is, until it is released.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

from burrow.addresses import parse_address
from burrow.errors import NotAllowed, Unavailable
from burrow.server.dns import Dns, DnsFailed, Leads
from burrow.shown import escaped

RECORD = "_burrow"
"""The label before the domain, where the TXT record is."""

AT_ONCE = 20
"""Domains that are asked about at the same time; agents that ask for more try again."""

AT_ONCE_OF_ONE = AT_ONCE // 4
"""Of those, the domains of one token: its DNS servers may answer as late as they want."""

_SHOWN = 5


def _now(leads: Leads) -> str:
    """
    Where a domain leads instead, for its owner. What leads to private addresses, or to none, is not told:
    this machine's resolver may know names that strangers are not to know, nor whether there are any.
    """
    found = [parse_address(address) for address in leads.addresses]
    if not found or not all(address is not None and address.is_global for address in found):
        return "now it does not lead here"
    return "now: " + ", ".join(map(escaped, [*sorted(leads.names), *sorted(leads.addresses)][:_SHOWN]))


class Domains:
    """
    @param base: the base domain. @param dns: is asked.
    @param addresses: this server's, beside those of the base domain.
    """

    def __init__(self, base: str, dns: Dns, addresses: Iterable[str] = ()) -> None:
        self._base = base
        self._dns = dns
        self._addresses = frozenset(addresses)
        self._asking: Counter[str] = Counter()

    def proof(self, domain: str, token: str) -> str:
        """The value of the TXT record. @param token: the token's id, which is no secret, nor is this."""
        text = f"burrow domain\0{self._base}\0{token}\0{domain}"
        return "burrow=" + hashlib.sha256(text.encode()).hexdigest()[:40]

    async def check(self, domain: str, token: str) -> None:
        """
        Whether a token may have a domain.

        @raise NotAllowed: it may not; the text says which records are missing.
        @raise Unavailable: DNS does not answer, or too much is asked.
        """
        if self._asking.total() >= AT_ONCE:
            raise Unavailable("the server asks DNS about many domains; the agent tries again")
        if self._asking[token] >= AT_ONCE_OF_ONE:
            raise Unavailable("the server asks DNS about other domains of this token; the agent tries again")
        self._asking[token] += 1
        try:
            missing = await self._missing(domain, self.proof(domain, token))
        except DnsFailed as error:
            raise Unavailable(f"{error}; the agent tries again") from error
        finally:
            self._asking[token] -= 1
            if not self._asking[token]:
                del self._asking[token]
        if missing:
            what = "; and ".join(missing)
            raise NotAllowed(
                f"{domain} is not this token's until DNS says so. Set {what}. Then ask again. A name under "
                f"{self._base} is written without a dot, as in --name {domain.partition('.')[0]}"
            )

    async def _missing(self, domain: str, proof: str) -> list[str]:
        missing = []
        if proof not in await self._dns.texts(f"{RECORD}.{domain}"):
            missing.append(f'the TXT record {RECORD}.{domain} to "{proof}"')
        leads = await self._dns.leads(domain)
        if not await self._is_here(leads):
            missing.append(
                f"the CNAME record {domain} to {self._base}, or A and AAAA records to this server's "
                f"addresses ({_now(leads)})"
            )
        return missing

    async def _is_here(self, leads: Leads) -> bool:
        if any(name == self._base or name.endswith(f".{self._base}") for name in leads.names):
            return True
        if not leads.addresses:
            return False
        if leads.addresses <= self._addresses:
            return True
        return leads.addresses <= self._addresses | (await self._dns.leads(self._base)).addresses
