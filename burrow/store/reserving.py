"""What becomes of reservations when they are made, renewed and freed. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attr

from burrow.store.base import USED_STEP, Reservation, Taken
from burrow.store.names import WILD, is_wildcard, twin


def taken(name: str, of: str) -> Taken:
    """The error of who asks for C{name}, and C{of}, the name itself or its twin, is another token's."""
    return Taken(
        f"the name {of!r} belongs to another token" + (f", and {name!r} with it" if of != name else "")
    )


def renewed(known: Reservation, wanted: Reservation) -> Reservation:
    """What a reservation is once its owner has made it again: see L{IStore.reserve}."""
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


def under_another(names: Mapping[str, Reservation]) -> list[str]:
    """
    The wildcards whose label is another token's, as a release that knew no twins allowed, and as a store
    leaves them that lost one of both: the label's owner is to have both, and they are released.
    """
    return [
        name
        for name, known in names.items()
        if is_wildcard(name)
        and (label := names.get(name.removeprefix(WILD))) is not None
        and label.token != known.token
    ]


def twin_asked(known: Reservation | None, wanted: Reservation) -> str | None:
    """
    The name that must not be another token's for a name to be reserved. It is not asked again for a label
    that the token owns: who has it has both.
    """
    return twin(wanted.name) if known is None or is_wildcard(wanted.name) else None


def kept_under(wanted: Reservation, parent: Reservation | None) -> Reservation | None:
    """
    What becomes of the label that a wildcard is under when C{wanted}, the wildcard, is reserved: it is its
    owner's as long, and not freed when it is not used. None of a name that is no wildcard.

    @param parent: the label's reservation before.
    """
    if not is_wildcard(wanted.name):
        return None
    if parent is None:  # of no kind, so that it is nobody's for visitors until it is opened
        parent = attr.evolve(wanted, kind="", upstream="", port=None, port_assigned=None, used=None)
    return attr.evolve(parent, name=wanted.name.removeprefix(WILD), asked=True)


def with_twin(find: Callable[[str], Reservation | None], name: str, owner: str | None) -> list[Reservation]:
    """
    A name's reservation and its twin's, as far as they are one token's: what is released or transferred.

    @param find: returns the reservation of a name. @param owner: the id of the token that has to own the
        name; None: whichever does.
    """
    known = find(name)
    if known is None or owner not in (None, known.token):
        return []
    other = twin(name)
    there = None if other is None else find(other)
    return [known] if there is None or there.token != known.token else [known, there]


def transferred(known: Reservation, token_id: str) -> Reservation:
    """What a reservation is once it is another token's: see L{IStore.transfer}."""
    return attr.evolve(known, token=token_id, asked=True, version=known.version + 1)


def freed(known: Reservation, before: float) -> Reservation | None:
    """
    What L{IStore.free_unused} leaves of a reservation: the same object, one without a port, or None.
    """
    if known.used is None or known.used >= before:
        return known
    if known.name_is_the_servers:
        return None
    return attr.evolve(known, port=None, port_assigned=None) if known.port_is_the_servers else known
