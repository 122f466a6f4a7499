"""
The store's interface, and the two things it keeps.

Every implementation runs the same tests (tests/store/test_store.py). All methods return Deferreds
and fail with L{StoreError} when the store cannot answer now; what they were to write is then not written.
"""

from __future__ import annotations

import attr
from zope.interface import Attribute, Interface

from burrow.errors import StoreError

ROLES = ("agent", "viewer", "admin")
"""What a token may do: run tunnels; look; everything."""


class Taken(StoreError):
    """The name or the port belongs to another token, or the token's name is in use."""


@attr.frozen
class Token:
    """
    Who may use the server.

    @ivar id: the public half, by which it is found. @ivar name: what its owner calls it.
    @ivar role: one of L{ROLES}. @ivar digest: SHA-256 of the secret half.
    @ivar created: seconds since the epoch. @ivar last_used: likewise; None before the first time.
    """

    id: str
    name: str
    role: str
    digest: bytes = attr.field(repr=False)
    created: float
    last_used: float | None = None


@attr.frozen
class Reservation:
    """
    Who owns a name.

    @ivar name: the label. @ivar kind: the tunnel kind it was last opened as.
    @ivar token: the owner's token id.
    @ivar agent: the agent that last opened it. @ivar upstream: what it was last bound to.
    @ivar port: its public port, for kinds that have one. @ivar assigned: the server chose the name, and
    gives it again to the same agent for the same kind and upstream.
    """

    name: str
    kind: str
    token: str
    agent: str
    upstream: str
    port: int | None
    assigned: bool
    created: float


def renewed(known: Reservation, wanted: Reservation) -> Reservation:
    """What a reservation becomes that its owner makes again: see L{IStore.reserve}."""
    port = known.port if wanted.port is None else wanted.port
    return attr.evolve(wanted, port=port, assigned=known.assigned, created=known.created)


class IStore(Interface):
    """
    Tokens by id and name; reservations by name and port, all unique; and notes: texts by space and key, for
    whoever needs to keep one (leases, nodes, certificates, locks), until removed or until their time is over.
    """

    whole = Attribute(
        """
        Whether what is missing is not there: false for a while after the store lost everything, since other
        servers may still write what they know.
        """
    )

    def open():  # type: ignore[no-untyped-def]
        """Get ready. Fires with None. Fails with L{StoreError}, whose text says what to do."""

    def close():  # type: ignore[no-untyped-def]
        """Let go of everything. Fires with None."""

    def add_token(token):  # type: ignore[no-untyped-def]
        """Keep a L{Token}. Fails with L{Taken} if its name is in use."""

    def token(token_id):  # type: ignore[no-untyped-def]
        """Fires with the L{Token}, or None if there is none or it was revoked."""

    def tokens():  # type: ignore[no-untyped-def]
        """Fires with all L{Token}s that are not revoked, by name."""

    def revoke_token(name):  # type: ignore[no-untyped-def]
        """Forget a token for ever; its reservations stay its own. Fires with whether there was one."""

    def token_used(token_id, when):  # type: ignore[no-untyped-def]
        """Remember when a token was last used. Fires with None."""

    def reserve(reservation):  # type: ignore[no-untyped-def]
        """
        Make or renew a L{Reservation}, in one step that no other can split.

        A name of the same token's takes the new kind, agent and upstream, and a port if one is given, or
        keeps the port it has; it stays assigned if it was. Fires with the L{Reservation} as it is now.
        Fails with L{Taken} if another token owns the name, or another name has the port.
        """

    def reservation(name):  # type: ignore[no-untyped-def]
        """Fires with the L{Reservation} of a name, or None."""

    def remembered(token_id, agent, kind, upstream):  # type: ignore[no-untyped-def]
        """Fires with the assigned L{Reservation} that fits all four, or None."""

    def reservations():  # type: ignore[no-untyped-def]
        """Fires with all L{Reservation}s, by name."""

    def release(name):  # type: ignore[no-untyped-def]
        """Give a name, and its port, back. Fires with whether there was one."""

    def note(space, key):  # type: ignore[no-untyped-def]
        """Fires with the text of a note, or None if there is none or its time is over."""

    def notes(space):  # type: ignore[no-untyped-def]
        """Fires with all notes of a space: a dictionary of texts by key."""

    def put_note(space, key, text, ttl=None):  # type: ignore[no-untyped-def]
        """
        Keep a note. C{ttl}: seconds; such a note may be lost with the machine's power, one without it is
        on the disk where the store has one. Fires with None.
        """

    def swap_note(space, key, old, new, ttl=None):  # type: ignore[no-untyped-def]
        """
        In one step: if the note's text is C{old} (None: there is none), make it C{new} (None: remove it).
        Fires with whether it was.
        """
