"""
The store's interface, and the two kinds of records that it keeps: tokens and reservations.

Every implementation passes the same tests (tests/store/test_store.py). All methods return Deferreds, which
fail with L{StoreError} if the store cannot answer now; what they were to write may be written then, or not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

import attr
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from burrow.errors import StoreError
from burrow.limits import UNLIMITED, Limits
from burrow.store.changes import Changes, Note
from burrow.wording import count_of

ROLES = ("agent", "viewer", "admin")
"""What a token may do: run tunnels; look; everything."""

USED_STEP = 3600.0
"""Seconds between two times of use that are told apart, so that reopening a tunnel writes nothing."""

TOKEN_USED_STEP = 60.0
"""Likewise for tokens: see L{IStore.token_used}."""

_T = TypeVar("_T")


class Taken(StoreError):
    """A name or a port belongs to another token, or a new token's name is in use."""


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
    The record of a token.

    @ivar id: the public half, by which it is found, and to which names belong. @ivar name: what the server's
    owner calls it.
    @ivar role: one of L{ROLES}. @ivar digest: SHA-256 of the secret half.
    @ivar created: seconds since the epoch. @ivar last_used: likewise; None before the first time.
    @ivar max_names: see L{Limits}, as the next three; None: the server's own limit.
    @ivar version: how often it was changed; of two records of one token the one with the higher is newer.
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
        """Its limits: its own, and C{defaults} where it has none."""
        own = {"names": self.max_names, "ports": self.max_ports}
        own |= {"tunnels": self.max_tunnels, "sessions": self.max_sessions}
        return attr.evolve(defaults, **{what: limit for what, limit in own.items() if limit is not None})


@attr.frozen
class Reservation:
    """
    Who owns a name.

    @ivar name: the label. @ivar kind: the kind of the tunnel that was last opened with it; empty if none was.
    @ivar token: the id of the token that owns it.
    @ivar agent: the agent that last opened it. @ivar upstream: the upstream it was last opened for.
    @ivar port: its public port, for kinds that have one. @ivar assigned: whether the server chose the name;
    it gives it again to the same agent for the same kind and upstream.
    @ivar used: when its tunnel was last open, in seconds since the epoch; None: not known.
    @ivar port_assigned: whether the server chose the port; None, in records of old releases: see C{assigned}.
    @ivar asked: its owner asked for the name, or the server's owner gave it away: it is never freed.
    @ivar version: how often its owner changed; of two records of one name the one with the higher is newer.
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


def record(kind: type[_T], fields: Mapping[str, Any]) -> _T:
    """A record from its fields, without those that this release does not know: a newer one wrote them."""
    known = {field.name for field in attr.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in fields.items() if name in known})


class IStore(Interface):
    """
    Tokens, unique by id and by name; reservations, unique by name and by port; and notes: texts by space and
    key (leases, nodes, certificates, locks), kept until they are removed or their time is over.
    """

    whole: bool = Attribute(
        """
        False for a while after the store lost records, in which other servers may write them again: what is
        missing may exist then.
        """
    )

    def open() -> Deferred[None]:
        """Connect, or open the file. Fires with None. The text of a L{StoreError} says what to do."""

    def close() -> Deferred[None]:
        """Close connections and files. Fires with None."""

    def add_token(token: Token) -> Deferred[None]:
        """Keep a L{Token}. Fails with L{Taken} if its name is in use."""

    def token(token_id: str) -> Deferred[Token | None]:
        """Fires with the L{Token}, or None if there is none or it was revoked."""

    def tokens() -> Deferred[list[Token]]:
        """Fires with all L{Token}s that are not revoked, by name."""

    def revoke_token(name: str) -> Deferred[bool]:
        """Remove a token for ever; its reservations stay. Fires with whether there was one of that name."""

    def token_used(token_id: str, when: float) -> Deferred[None]:
        """
        Keep when a token was last used. Fires with None. Nothing is written if the time that is kept is less
        than L{TOKEN_USED_STEP} seconds before C{when}.
        """

    def find_tokens(ids: Iterable[str]) -> Deferred[dict[str, Token]]:
        """
        Fires with a dictionary, by id, of those of these L{Token}s that the store has. One that is missing
        may exist: L{token} tells whether it was revoked.
        """

    def change_token(name: str, changes: dict[str, Any]) -> Deferred[Token | None]:
        """
        Change fields of a token, in one step. Fires with the L{Token} as it is now, or None if there is none
        of that name.

        @param changes: new values by field: of C{role}, C{digest} and the C{max_...}.
        """

    def reserve(reservation: Reservation, limits: Limits = UNLIMITED) -> Deferred[Reservation]:
        """
        Make or renew a L{Reservation}, in one step.

        A name that the token owns gets the new kind, agent and upstream. It gets the new port, or keeps its
        own if none is given. It stays C{assigned} or not, and C{asked} if it was. If nothing changes, nothing
        is written.
        A wildcard is reserved together with the label that it is under: see
        L{kept_under<burrow.store.reserving.kept_under>}.
        Fires with the L{Reservation} as it is now. Fails with L{Taken} if another token owns the name or its
        L{twin<burrow.store.names.twin>}, or another name has the port; with L{OverQuota} if the token would
        have more names or ports than C{limits} allows: renewing what it owns is always allowed.
        """

    def reservation(name: str) -> Deferred[Reservation | None]:
        """Fires with the L{Reservation} of a name, or None."""

    def find_reservations(names: Iterable[str]) -> Deferred[dict[str, Reservation | None]]:
        """
        Fires with a dictionary of a L{Reservation} or None by name. A name of which the store cannot tell now
        is missing in it.
        """

    def remembered(token_id: str, agent: str, kind: str, upstream: str) -> Deferred[Reservation | None]:
        """Fires with the L{Reservation} that is C{assigned} and has these four values, or None."""

    def reservations() -> Deferred[list[Reservation]]:
        """Fires with all L{Reservation}s, by name."""

    def free_ports(ports: Iterable[int]) -> Deferred[list[int]]:
        """
        Fires with a list of those of these ports that no L{Reservation} has, in their order. Where the store
        is shared, the work grows with the ports asked for, one question for each 500, and not with the
        reservations. Another server may reserve a port right after: L{reserve} then fails with L{Taken}.
        """

    def release(name: str, token_id: str | None = None) -> Deferred[list[str]]:
        """
        Remove the reservation of a name, and so of its port, and of its L{twin<burrow.store.names.twin>}, if
        that is the same token's; with C{token_id} only if they are that token's. In one step. Fires with the
        names that were removed; none if the name was nobody's, or another token's.
        """

    def transfer(name: str, token_id: str, owner: str | None = None) -> Deferred[list[Reservation]]:
        """
        Make another token the owner of a name and its port, whatever that token's L{Limits}, and of its
        L{twin<burrow.store.names.twin>}, if that had the same owner. In one step. Fires with the
        L{Reservation}s that were moved, as they are now, that of the name first; none if there is none of
        that name.

        @param owner: the id of the token that has to own the name; None: whichever does.
        """

    def names_used(names: Iterable[str], when: float) -> Deferred[None]:
        """Keep that these names' tunnels were open at C{when}, seconds since the epoch. Fires with None."""

    def free_unused(before: float, now: float) -> Deferred[list[str]]:
        """
        Free what the server chose and nobody used since C{before}: names, and ports of names that were asked
        for; see L{freed<burrow.store.reserving.freed>}. A name without a time of use counts as used C{now}.
        Each name is decided and freed in one step. Fires with the names that are free or lost their port,
        sorted.

        @param before: seconds since the epoch. @param now: likewise.
        """

    def note(space: str, key: str) -> Deferred[str | None]:
        """Fires with the text of a note, or None if there is none or its time is over."""

    def find_notes(space: str, keys: Iterable[str]) -> Deferred[dict[str, str | None]]:
        """
        Fires with a dictionary of what L{note} has for each of these keys. A note of which the store cannot
        tell now is missing in it.
        """

    def notes(space: str) -> Deferred[dict[str, str]]:
        """Fires with all notes of a space: a dictionary of texts by key."""

    def put_note(space: str, key: str, text: str, ttl: float | None = None) -> Deferred[None]:
        """
        Keep a note. Fires with None.

        @param ttl: seconds after which it is gone; such a note may be lost when the machine loses power.
            None: it lasts, and is on the disk, if the store has one, when this fires.
        """

    def swap_note(
        space: str, key: str, old: str | None, new: str | None, ttl: float | None = None
    ) -> Deferred[bool]:
        """
        In one step: if the note's text is C{old} (None: there is none), make it C{new} (None: remove it).
        Fires with whether the text was C{old}.

        @param ttl: see L{put_note}.
        """

    def changes(spaces: Collection[str], since: str, note: Note | None = None) -> Deferred[Changes]:
        """
        What changed since the last time: among the tokens, the reservations, and the notes of some spaces.
        The work grows with what changed. That a note has more time now, or that a token or a name was
        used, is no change; that a note's time is over may be told late.

        @param since: the version of the L{Changes} of the last time, or empty.
        @param note: what to keep first, as L{put_note} does.
        """

    def follow(changed: Callable[[], None]) -> None:
        """
        Call C{changed}, without arguments, soon after another process changed something, if the store can
        tell. So who asks for L{changes} every now and then may ask earlier. To be called before L{open}.
        """
