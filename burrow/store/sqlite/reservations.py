"""Reservations in the database: functions of a cursor, called within a transaction."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import attr

from burrow.limits import Limits
from burrow.store.base import OverQuota, Reservation, Taken
from burrow.store.reserving import (
    freed,
    kept_under,
    renewed,
    taken,
    transferred,
    twin_asked,
    with_twin,
)

_COLUMNS = ", ".join(field.name for field in attr.fields(Reservation))
_MARKS = ", ".join("?" for _ in attr.fields(Reservation))


def _from_row(row: tuple[Any, ...]) -> Reservation:
    """The reservation of a row of L{_COLUMNS}, in which booleans are integers."""
    found = Reservation(*row)
    port_assigned = None if found.port_assigned is None else bool(found.port_assigned)
    return attr.evolve(
        found, assigned=bool(found.assigned), asked=bool(found.asked), port_assigned=port_assigned
    )


def select(cursor: Any, rest: str, values: Iterable[Any] = ()) -> list[Reservation]:
    """All reservations that fit: C{rest} is what follows FROM in the query."""
    query = f"SELECT {_COLUMNS} FROM reservations {rest}"
    return [_from_row(row) for row in cursor.execute(query, tuple(values)).fetchall()]


def find(cursor: Any, name: str) -> Reservation | None:
    """The reservation of a name."""
    return next(iter(select(cursor, "WHERE name = ?", (name,))), None)


def _put(cursor: Any, reservation: Reservation) -> None:
    query = f"INSERT OR REPLACE INTO reservations ({_COLUMNS}) VALUES ({_MARKS})"
    cursor.execute(query, attr.astuple(reservation))


def reserve(cursor: Any, wanted: Reservation, limits: Limits) -> Reservation:
    """See L{IStore.reserve<burrow.store.base.IStore.reserve>}."""
    known = find(cursor, wanted.name)
    other = twin_asked(known, wanted)
    there = None if other is None else find(cursor, other)
    for one in (known, there):
        if one is not None and one.token != wanted.token:
            raise taken(wanted.name, one.name)
    if wanted.port is not None:
        query = "SELECT name FROM reservations WHERE port = ? AND name <> ?"
        if cursor.execute(query, (wanted.port, wanted.name)).fetchone() is not None:
            raise Taken(f"port {wanted.port} belongs to another name")
    parent = kept_under(wanted, there)
    more = {
        "names": (known is None) + (parent is not None and there is None),
        "ports": int(wanted.port is not None and (known is None or known.port is None)),
    }
    _check_quota(cursor, wanted.token, more, limits)
    if parent is not None and parent != there:
        _put(cursor, parent)
    if known is not None:
        wanted = renewed(known, wanted)
    if wanted != known:  # else nothing is written, and so it works with a full disk
        _put(cursor, wanted)
    return wanted


def _check_quota(cursor: Any, token: str, more: dict[str, int], limits: Limits) -> None:
    """@param more: how many names and ports are to be the token's. @raise OverQuota: it had too many."""
    if not any(more.values()):
        return
    query = "SELECT COUNT(*), COUNT(port) FROM reservations WHERE token = ?"
    owned = cursor.execute(query, (token,)).fetchone()
    for what, count in zip(more, owned, strict=True):
        limit = getattr(limits, what)
        if more[what] and limit is not None and count + more[what] > limit:
            raise OverQuota(what, limit)


def release(cursor: Any, name: str, token_id: str | None) -> list[str]:
    """See L{IStore.release<burrow.store.base.IStore.release>}."""
    names = [one.name for one in with_twin(partial(find, cursor), name, token_id)]
    cursor.executemany("DELETE FROM reservations WHERE name = ?", [(one,) for one in names])
    return names


def transfer(cursor: Any, name: str, token_id: str, owner: str | None) -> list[Reservation]:
    """See L{IStore.transfer<burrow.store.base.IStore.transfer>}."""
    moved = [transferred(known, token_id) for known in with_twin(partial(find, cursor), name, owner)]
    for one in moved:
        _put(cursor, one)
    return moved


def free_unused(cursor: Any, before: float, now: float) -> list[str]:
    """See L{IStore.free_unused<burrow.store.base.IStore.free_unused>}."""
    changed = []
    for known in select(cursor, "WHERE used < ? ORDER BY name", (before,)):
        left = freed(known, before)
        if left is None:
            cursor.execute("DELETE FROM reservations WHERE name = ?", (known.name,))
        elif left is not known:
            _put(cursor, left)
        if left is not known:
            changed.append(known.name)
    cursor.execute("UPDATE reservations SET used = ? WHERE used IS NULL", (now,))
    return changed
