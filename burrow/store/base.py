"""
The store's interface, and the two things it keeps.

Every implementation runs the same tests (tests/store/test_store.py). All methods return Deferreds
and fail with L{StoreError} when the store cannot answer now; what they were to write is then not written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import attr
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from burrow.errors import StoreError
from burrow.limits import UNLIMITED, Limits
from burrow.wording import count_of

ROLES = ("agent", "viewer", "admin")
"""What a token may do: run tunnels; look; everything."""

USED_STEP = 3600.0
"""Seconds between two times of use that are told apart, so that who opens a tunnel again writes nothing."""

TOKEN_USED_STEP = 60.0
"""Likewise for tokens: see L{IStore.token_used}."""

_T = TypeVar("_T")


class Taken(StoreError):
    """The name or the port belongs to another token, or the token's name is in use."""


class OverQuota(Taken):
    """
    The token owns as many names or ports as it may.

    @ivar what: "names" or "ports". @ivar limit: how many it may own.
    """

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(
            f"the token owns {count_of(limit, what[:-1])}, as many as it may: the server's owner can "
            "release some with `burrow names release`, or allow more with `burrow token set`"
        )
        self.what = what
        self.limit = limit


@attr.frozen
class Token:
    """
    Who may use the server.

    @ivar id: the public half, by which it is found, and to which names belong. @ivar name: what its owner
    calls it.
    @ivar role: one of L{ROLES}. @ivar digest: SHA-256 of the secret half.
    @ivar created: seconds since the epoch. @ivar last_used: likewise; None before the first time.
    @ivar max_names: see L{Limits}, as the next three; None: what the server is configured to allow.
    @ivar version: how often it was changed: of two records of one token the one with more is the newer.
    """

    id: str
    name: str
    role: str
    digest: bytes = attr.field(repr=False)
    created: float
    last_used: float | None = None
    max_names: int | None = None
    max_ports: int | None = None
    max_tunnels: int | None = None
    max_sessions: int | None = None
    version: int = 0

    def limits(self, defaults: Limits) -> Limits:
        """What it may have: its own settings, and C{defaults} where it has none."""
        own = {"names": self.max_names, "ports": self.max_ports}
        own |= {"tunnels": self.max_tunnels, "sessions": self.max_sessions}
        return attr.evolve(defaults, **{what: limit for what, limit in own.items() if limit is not None})


@attr.frozen
class Reservation:
    """
    Who owns a name.

    @ivar name: the label. @ivar kind: the tunnel kind it was last opened as.
    @ivar token: the owner's token id.
    @ivar agent: the agent that last opened it. @ivar upstream: what it was last bound to.
    @ivar port: its public port, for kinds that have one. @ivar assigned: the server chose the name, and
    gives it again to the same agent for the same kind and upstream.
    @ivar used: when the tunnel was open last, in seconds since the epoch; None: not known.
    @ivar port_assigned: the server chose the port; None, in records of old releases: as the name.
    @ivar asked: its owner asked for the name, or the server's owner gave it to it: it is never freed.
    @ivar version: how often it changed hands: of two records of one name the one with more is the newer.
    """

    name: str
    kind: str
    token: str
    agent: str
    upstream: str
    port: int | None
    assigned: bool
    created: float
    used: float | None = None
    port_assigned: bool | None = None
    asked: bool = False
    version: int = 0

    @property
    def port_is_the_servers(self) -> bool:
        """Whether it has a port that the server chose."""
        chosen = self.assigned if self.port_assigned is None else self.port_assigned
        return self.port is not None and chosen

    @property
    def name_is_the_servers(self) -> bool:
        """Whether nobody ever asked for this name or its port: the server chose both."""
        return self.assigned and not self.asked and (self.port is None or self.port_is_the_servers)


def renewed(known: Reservation, wanted: Reservation) -> Reservation:
    """What a reservation becomes that its owner makes again: see L{IStore.reserve}."""
    of_port = known if wanted.port is None else wanted
    return attr.evolve(
        wanted,
        port=of_port.port,
        port_assigned=of_port.port_assigned,
        assigned=known.assigned,
        asked=known.asked or wanted.asked,
        created=known.created,
        used=_used(known.used, wanted.used),
        version=known.version,
    )


def _used(known: float | None, wanted: float | None) -> float | None:
    if known is None or wanted is None:
        return wanted if known is None else known
    return wanted if wanted >= known + USED_STEP else known


def freed(known: Reservation, before: float) -> Reservation | None:
    """
    What is left of a reservation once what the server chose is freed if it was not used since C{before}:
    the same one, one without its port, or None. See L{IStore.free_unused}.
    """
    if known.used is None or known.used >= before:
        return known
    if known.name_is_the_servers:
        return None
    return attr.evolve(known, port=None, port_assigned=None) if known.port_is_the_servers else known


def record(kind: type[_T], fields: Mapping[str, Any]) -> _T:
    """A record from its fields; those that a newer release wrote and we do not know are left out."""
    known = {field.name for field in attr.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in fields.items() if name in known})


class IStore(Interface):
    """
    Tokens by id and name; reservations by name and port, all unique; and notes: texts by space and key, for
    whoever needs to keep one (leases, nodes, certificates, locks), until removed or until their time is over.
    """

    whole: bool = Attribute(
        """
        Whether what is missing is not there: false for a while after the store lost everything, since other
        servers may still write what they know.
        """
    )

    def open() -> Deferred[None]:
        """Get ready. Fires with None. Fails with L{StoreError}, whose text says what to do."""

    def close() -> Deferred[None]:
        """Let go of everything. Fires with None."""

    def add_token(token: Token) -> Deferred[None]:
        """Keep a L{Token}. Fails with L{Taken} if its name is in use."""

    def token(token_id: str) -> Deferred[Token | None]:
        """Fires with the L{Token}, or None if there is none or it was revoked."""

    def tokens() -> Deferred[list[Token]]:
        """Fires with all L{Token}s that are not revoked, by name."""

    def revoke_token(name: str) -> Deferred[bool]:
        """Forget a token for ever; its reservations stay its own. Fires with whether there was one."""

    def token_used(token_id: str, when: float) -> Deferred[None]:
        """
        Remember when a token was last used. Fires with None. Less than L{TOKEN_USED_STEP} seconds after the
        time that is known nothing is written.
        """

    def find_tokens(ids: Iterable[str]) -> Deferred[dict[str, Token]]:
        """
        Fires with those L{Token}s of these ids that the store has: a dictionary by id. Ask L{token} whether
        one that is missing was revoked.
        """

    def change_token(name: str, changes: dict[str, Any]) -> Deferred[Token | None]:
        """
        Give a token's fields other values, in one step: C{changes} by field, of C{digest} and the C{max_...}.
        Fires with the L{Token} as it is now, or None if there is none of that name.
        """

    def reserve(reservation: Reservation, limits: Limits = UNLIMITED) -> Deferred[Reservation]:
        """
        Make or renew a L{Reservation}, in one step that no other can split.

        A name of the same token's takes the new kind, agent and upstream, and a port if one is given, or
        keeps the port it has; it stays assigned if it was, and asked for if it ever was. If nothing changes,
        nothing is written.
        Fires with the L{Reservation} as it is now. Fails with L{Taken} if another token owns the name, or
        another name has the port; with L{OverQuota} if the token had more names or ports than its L{Limits}
        then: what it owns already may always be renewed.
        """

    def reservation(name: str) -> Deferred[Reservation | None]:
        """Fires with the L{Reservation} of a name, or None."""

    def find_reservations(names: Iterable[str]) -> Deferred[dict[str, Reservation | None]]:
        """
        Look names up, all in one step. Fires with a dictionary of a L{Reservation} or None by name; a name
        that is missing in it cannot be told now.
        """

    def remembered(token_id: str, agent: str, kind: str, upstream: str) -> Deferred[Reservation | None]:
        """Fires with the assigned L{Reservation} that fits all four, or None."""

    def reservations() -> Deferred[list[Reservation]]:
        """Fires with all L{Reservation}s, by name."""

    def free_ports(ports: Iterable[int]) -> Deferred[list[int]]:
        """
        Fires with those of some ports that no L{Reservation} has: a list, in the order given. The work grows
        with the ports asked for and not with what is reserved, where the store is shared: one question for
        each 500 of them. Another may reserve a
        port right after; L{reserve} then fails with L{Taken}.
        """

    def release(name: str) -> Deferred[bool]:
        """Give a name, and its port, back. Fires with whether there was one."""

    def transfer(name: str, token_id: str) -> Deferred[Reservation | None]:
        """
        Make a name, with its port, another token's, whatever that one's L{Limits}. Fires with the
        L{Reservation} as it is now, or None if nobody owns the name.
        """

    def names_used(names: Iterable[str], when: float) -> Deferred[None]:
        """Remember that their tunnels were open at C{when}, in seconds since the epoch. Fires with None."""

    def free_unused(before: float, now: float) -> Deferred[list[str]]:
        """
        Free what the server chose and nobody used since C{before}: names, and ports of names that were asked
        for; see L{freed}. A name of which nobody knows when it was used counts as used C{now}. Each is
        decided and done in one step. Fires with the names that are free, or lost their port, sorted.
        """

    def note(space: str, key: str) -> Deferred[str | None]:
        """Fires with the text of a note, or None if there is none or its time is over."""

    def notes(space: str) -> Deferred[dict[str, str]]:
        """Fires with all notes of a space: a dictionary of texts by key."""

    def put_note(space: str, key: str, text: str, ttl: float | None = None) -> Deferred[None]:
        """
        Keep a note. C{ttl}: seconds; such a note may be lost with the machine's power, one without it is
        on the disk where the store has one. Fires with None.
        """

    def swap_note(
        space: str, key: str, old: str | None, new: str | None, ttl: float | None = None
    ) -> Deferred[bool]:
        """
        In one step: if the note's text is C{old} (None: there is none), make it C{new} (None: remove it).
        Fires with whether it was.
        """
