"""
A store in Redis that may go away, or lose something or everything, while its server goes on.

What the server has seen of Redis it remembers: all tokens and reservations, what was revoked and released,
and the lasting notes that went through here. From that

- it answers while Redis is away: known tokens and the names they own; anything else is a L{StoreError};
- it writes, once Redis is back, what could not be written: renewed reservations, and when tokens were used;
- it merges what it knows into a Redis that went back (L{burrow.store.redis.guard}), before it believes that
  something is not there; and then waits a little for what other servers know, before it says so. Of two
  records of one token or name the one with the higher version counts; what has a mark does not come back.

What bounds it: as much as is in Redis, of which the holders of tokens decide.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred, DeferredLock, FirstError, ensureDeferred, gatherResults
from twisted.logger import Logger
from zope.interface import implementer

from burrow.errors import StoreError
from burrow.limits import UNLIMITED, Limits
from burrow.repeat import repeating
from burrow.store.base import IStore, Reservation, Taken, Token, renewed
from burrow.store.deferring import returns_deferred
from burrow.store.redis.contents import Everything
from burrow.store.redis.guard import MAX_MARKS, WentBack
from burrow.store.redis.records import Unreadable
from burrow.store.redis.store import RedisStore
from burrow.store.spaces import LASTING

LOOK_EVERY = 1.0
"""Seconds between two looks whether Redis is there, and whether it is the one that it was."""

READ_EVERY = 30
"""Looks after which everything is read anew; what was revoked or released is seen at each."""

PATIENCE = 0.5
"""Seconds that Redis may take for what is known here anyway."""

SETTLE = 5.0
"""Seconds after a loss was seen in which other servers, too, write what they know."""

_AT_ONCE = 100
_T = TypeVar("_T")
_MISSING = object()


class NotKnown(StoreError):
    """Redis is there, and may lack what another server knows."""


def _token_mark(token_id: str) -> str:
    return f"token:{token_id}"


def _name_mark(name: str) -> str:
    return f"name:{name}"


def _older(there: Reservation, known: Reservation, ports: bool) -> bool:
    """
    Whether what is known of a name is newer than what is there: its owner, or the port that it got. That
    counts (C{ports}) only in a Redis that went back: else another server gave it a new one.
    """
    if there.version != known.version or there.token != known.token:
        return there.version < known.version
    newer = there.port is None or (known.used or 0.0) > (there.used or 0.0)
    return ports and known.port not in (None, there.port) and newer


@implementer(IStore)
class KnownStore:
    """
    @param inner: the store in Redis, not opened yet.
    @param mark: a file that remembers which Redis it was, so that one that was found to have lost something
        while this server started is known for it.
    @param alone: whether no other server uses the Redis, as far as is known: nobody else writes then.
    @param lost: called with a name whenever this server finds out that it is not its last owner's any more.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        inner: RedisStore,
        mark: Path | None = None,
        alone: Callable[[], bool] = lambda: False,
        lost: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._on_lost = lost
        self._clock = clock
        self._inner = inner
        self._guard = inner.guard
        self._mark = mark
        self._alone = alone
        self._lost = float("-inf")
        self._tokens: dict[str, Token] = {}
        self._names: dict[str, Reservation] = {}
        self._marks: dict[str, int] = {}
        self._notes: dict[tuple[str, str], str] = {}
        self._used: dict[str, float] = {}
        self._renewed: set[str] = set()
        self._touched: set[str] = set()
        self._away = False
        self._looks = 0
        self._unread = False
        self._filling = DeferredLock()
        self._loop = repeating(clock, self._look, "a look into Redis")

    @property
    def whole(self) -> bool:
        """See L{IStore}."""
        return bool(self._clock.seconds() - self._lost >= SETTLE)

    # -- its life -----------------------------------------------------------------------------------------

    @returns_deferred
    async def open(self) -> None:
        """See L{IStore}. Redis must be there: nothing is known yet."""
        await self._inner.open()
        policy = await self._guard.policy()
        if policy.startswith("allkeys"):
            self.log.warn(
                "Redis may throw away what it must keep: its maxmemory-policy is {policy}; set noeviction",
                policy=policy,
            )
        if self._last_epoch() not in ("", self._guard.epoch):
            self._lost = self._clock.seconds()
        self._write_epoch()
        await self._read()
        self._loop.start(LOOK_EVERY, now=False)

    @returns_deferred
    async def close(self) -> None:
        """See L{IStore}. What could not be written yet is tried once more."""
        if self._loop.running:
            self._loop.stop()
        await self._look()
        await self._inner.close()

    def _last_epoch(self) -> str:
        try:
            return "" if self._mark is None else self._mark.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""

    def _write_epoch(self) -> None:
        if self._mark is None or self._last_epoch() == self._guard.epoch:
            return
        try:
            self._mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._mark.write_text(self._guard.epoch + "\n", encoding="ascii")
        except OSError as error:
            self.log.warn("{file} cannot be written: {error}", file=str(self._mark), error=error)

    async def _look(self) -> None:
        try:
            await self._turn()
        except StoreError as error:
            self._gone(error)
            return
        if self._away:
            self._away = False
            self.log.info("Redis is back: what waited for it is written")

    async def _turn(self) -> None:
        try:
            marks = await self._guard.look()
        except WentBack:
            await self._fill()
            marks = await self._guard.look()
        for mark, version in marks.items():
            self._marked(mark, version)
        await self._write()
        self._looks += 1
        if self.whole and (self._unread or self._looks % READ_EVERY == 0):
            await self._read()

    def _gone(self, error: StoreError) -> None:
        if not self._away:
            self._away = True
            self.log.error("the store is away, what is known goes on: {error}", error=error)

    async def _write(self) -> None:
        """Write what could not be written before."""
        for name in list(self._renewed):
            try:
                self._learn(await self._inner.reserve(self._names[name]))
            except Taken as error:
                self._names.pop(name, None)
                self._renewed.discard(name)  # whoever is told asks Redis, not what waits for it
                self._on_lost(name)
                self.log.error("a reservation that waited for Redis is lost: {error}", error=error)
            self._renewed.discard(name)
        while self._used:
            token_id, when = next(iter(self._used.items()))
            await self._inner.token_used(token_id, when)
            self._used.pop(token_id, None)

    # -- what is known --------------------------------------------------------------------------------------

    def _learn(self, record: Token | Reservation) -> None:
        """Know a record, unless a newer one is known, or that it was removed."""
        key = record.id if isinstance(record, Token) else record.name
        known: dict[str, Any] = self._tokens if isinstance(record, Token) else self._names
        mark = _token_mark(key) if isinstance(record, Token) else _name_mark(key)
        gone = mark in self._marks and (isinstance(record, Token) or self._marks[mark] >= record.version)
        if not gone and (key not in known or known[key].version <= record.version):
            before = known.get(key)
            self._touched.add(mark)
            known[key] = record
            if isinstance(record, Reservation) and before is not None and before.token != record.token:
                self._renewed.discard(key)  # its last owner's wish is void
                self._on_lost(key)

    def _marked(self, mark: str, version: int) -> None:
        """What the mark is of was revoked, or released in this version."""
        self._touched.add(mark)
        self._marks[mark] = max(version, self._marks.get(mark, -1))
        kind, _, key = mark.partition(":")
        if kind == "token":
            self._tokens.pop(key, None)
            self._used.pop(key, None)
        elif key in self._names and self._names[key].version <= version:
            del self._names[key]
            self._renewed.discard(key)
            self._on_lost(key)

    async def _read(self) -> None:
        """Learn all that is there; find what is missing though nobody removed it."""
        self._touched = set()
        there = await self._inner.contents.everything()
        if any(self._lacking(there)):
            self._guard.doubt()
            await self._fill()
            return
        self._unread = False
        self._adopt(there, set(there.tokens), set(there.names))

    def _lacking(
        self, there: Everything, *, ports: bool = False
    ) -> tuple[list[Token], list[Reservation], list[tuple[str, int]]]:
        """What is known here, and not there: tokens, names (see L{_older}) and marks."""
        tokens = [
            token
            for key, token in self._tokens.items()
            if _token_mark(key) not in there.marks
            and _token_mark(key) not in self._touched
            and (key not in there.tokens or there.tokens[key].version < token.version)
        ]
        names = [
            known
            for key, known in self._names.items()
            if there.marks.get(_name_mark(key), -1) < known.version
            and _name_mark(key) not in self._touched
            and (key not in there.names or _older(there.names[key], known, ports))
        ]
        marks = [
            (mark, version)
            for mark, version in self._marks.items()
            if there.marks.get(mark, -1) < version and mark not in self._touched
        ]
        # Of very many the oldest are forgotten, which is no loss.
        return tokens, names, marks if len(there.marks) < MAX_MARKS else []

    def _adopt(self, there: Everything, tokens: set[str], names: set[str]) -> None:
        """Know what is there, of these; what was touched since it was read is newer here."""
        touched, before = self._touched, self._names
        self._tokens = {
            **{key: there.tokens[key] for key in tokens if key in there.tokens},
            **{key: token for key, token in self._tokens.items() if _token_mark(key) in touched},
        }
        self._names = {
            **{key: there.names[key] for key in names if key in there.names},
            **{
                key: known
                for key, known in self._names.items()
                if _name_mark(key) in touched or key in self._renewed
            },
        }
        self._marks = {
            **there.marks,
            **{mark: version for mark, version in self._marks.items() if mark in touched},
        }
        for mark, version in list(self._marks.items()):
            if mark in touched:
                self._marked(mark, version)
        self._guard.looked(there.order)
        for name, known in before.items():
            if name not in self._names or self._names[name].token != known.token:
                self._on_lost(name)

    # -- a Redis that went back ---------------------------------------------------------------------------

    async def _fill(self) -> None:
        """Put everything that is known where it is missing."""
        async with self._filling:
            if not await self._guard.went_back():
                return
            if not self._alone():
                self._lost = self._clock.seconds()
            self.log.warn(
                "Redis lost what was in it, or a part: merging {tokens} tokens and {names} names into it",
                tokens=len(self._tokens),
                names=len(self._names),
            )
            self._touched = set()
            tokens, names, marks = self._lacking(await self._inner.contents.everything(), ports=True)
            await self._each(marks, self._inner.contents.merge_mark)
            await self._each(tokens, self._inner.contents.merge_token)
            await self._each(names, self._inner.contents.merge_name)
            await self._inner.contents.index()
            notes = [(space, key, text) for (space, key), text in self._notes.items()]
            await self._each(notes, self._inner.contents.merge_note)
            await self._guard.settle()
            self._write_epoch()
            there = await self._inner.contents.everything()
            if self._believed:
                self._adopt(there, set(there.tokens), set(there.names))
            else:
                self._adopt(there, set(self._tokens), set(self._names))
            self._unread = not self.whole  # others have not written all they know

    async def _each(self, records: Iterable[_T], write: Callable[[_T], Awaitable[None]]) -> None:
        waiting = list(records)
        while waiting:
            batch, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
            writing = [ensureDeferred(cast(Any, write(record))) for record in batch]
            try:
                await gatherResults(writing, consumeErrors=True)
            except FirstError as error:
                raise StoreError(error.subFailure.getErrorMessage()) from error

    async def _ask(self, ask: Callable[[], Awaitable[_T]], known: object = _MISSING) -> _T | Any:
        """
        Ask Redis. If it went back it is mended, and asked again.

        @param known: what to answer while it is away, or if it takes longer than L{PATIENCE}.
        """
        if known is _MISSING:
            return await self._asked(ask)
        if self._away:
            return known
        try:
            return await self._soon(Deferred.fromCoroutine(self._asked(ask)), known)
        except Taken:
            raise
        except StoreError:
            return known

    async def _asked(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        try:
            try:
                return await ask()
            except WentBack:
                await self._fill()
                return await ask()
        except (Taken, NotKnown):
            raise
        except StoreError as error:
            self._gone(error)
            raise

    def _soon(self, asking: Deferred[Any], known: object) -> Deferred[Any]:
        """The answer, or what is known: then the question goes on, since one to Redis is not cancelled."""
        soon: Deferred[Any] = Deferred()
        late = self._clock.callLater(PATIENCE, soon.callback, known)

        def answered(answer: Any) -> None:
            if late.active():
                late.cancel()
                soon.callback(answer)

        asking.addBoth(answered)
        return soon

    @property
    def _believed(self) -> bool:
        """Whether what Redis alone knows is so: not while another server may know better."""
        return self.whole or not self._guard.older

    def _sure(self, found: object = None) -> None:
        """
        Something is not known here, and Redis says C{found}.

        @raise NotKnown: another server may know better.
        """
        if not (self.whole if found is None else self._believed):
            raise NotKnown("Redis lost what was in it, and the servers write it again")

    # -- tokens ---------------------------------------------------------------------------------------------

    @returns_deferred
    async def add_token(self, token: Token) -> None:
        """See L{IStore}."""
        await self._ask(lambda: self._inner.add_token(token))
        self._learn(token)

    @returns_deferred
    async def token(self, token_id: str) -> Token | None:
        """See L{IStore}."""
        if _token_mark(token_id) in self._marks:
            return None  # for ever, whatever Redis says
        known = self._tokens.get(token_id, _MISSING)
        token: Token | None = await self._ask(lambda: self._find_token(token_id), known)
        return token

    async def _find_token(self, token_id: str) -> Token | None:
        known = self._tokens.get(
            token_id
        )  # before it is asked: what comes to be known meanwhile proves nothing
        token, revoked = await self._inner.find_token(token_id)
        if revoked:
            self._marked(_token_mark(token_id), 0)
            return None
        if known is None:
            self._sure(token)
        elif token is None or token.version < known.version:
            self._guard.doubt()
            raise WentBack
        if token is not None:
            self._learn(token)
        return self._tokens.get(token_id)

    @returns_deferred
    async def tokens(self) -> list[Token]:
        """See L{IStore}."""
        return await self._asked(self._inner.tokens)

    @returns_deferred
    async def revoke_token(self, name: str) -> bool:
        """See L{IStore}."""
        revoked: bool = await self._ask(lambda: self._inner.revoke_token(name))
        if not revoked:
            self._sure()
        for token in [token for token in self._tokens.values() if token.name == name]:
            self._marked(_token_mark(token.id), 0)
        return revoked

    def token_used(self, token_id: str, when: float) -> Deferred[None]:
        """See L{IStore}. Never fails: written later, if not now."""
        return self._soon(self._write_use(token_id, when), None)

    @returns_deferred
    async def _write_use(self, token_id: str, when: float) -> None:
        if token_id in self._tokens:
            self._used[token_id] = when
        if not self._away:
            try:
                await self._inner.token_used(token_id, when)
                self._used.pop(token_id, None)
            except StoreError as error:
                self._gone(error)

    @returns_deferred
    async def find_tokens(self, ids: Iterable[str]) -> dict[str, Token]:
        """See L{IStore}."""
        wanted = list(ids)
        found: dict[str, Token] = await self._ask(lambda: self._inner.find_tokens(wanted))
        # What is wrong with the others, L{token} finds out.
        sure = {key: token for key, token in found.items() if self._may_be(token)}
        for token in sure.values():
            self._learn(token)
        return sure

    def _may_be(self, token: Token) -> bool:
        """Whether Redis may be believed that there is this token."""
        known = self._tokens.get(token.id)
        if known is None:
            return self._believed and _token_mark(token.id) not in self._marks
        return known.version <= token.version

    @returns_deferred
    async def change_token(self, name: str, changes: dict[str, Any]) -> Token | None:
        """See L{IStore}."""
        token: Token | None = await self._ask(lambda: self._inner.change_token(name, changes))
        if token is None:
            self._sure()
        else:
            self._learn(token)
        return token

    # -- reservations --------------------------------------------------------------------------------------

    @returns_deferred
    async def reserve(self, reservation: Reservation, limits: Limits = UNLIMITED) -> Reservation:
        """See L{IStore}. While Redis is away, a name that is known for the token's is renewed."""
        wanted = reservation
        known = self._names.get(wanted.name)
        ours = known is not None and known.token == wanted.token and wanted.port in (None, known.port)
        if not (self._away and ours):
            try:
                kept: Reservation = await self._ask(lambda: self._reserve_there(wanted, limits))
                self._learn(kept)
                return kept
            except Taken:
                raise
            except StoreError:
                if not ours:
                    raise
        assert known is not None
        self._names[wanted.name] = renewed(known, wanted)
        self._renewed.add(wanted.name)
        return self._names[wanted.name]

    async def _reserve_there(self, wanted: Reservation, limits: Limits) -> Reservation:
        known = self._names.get(wanted.name)
        if known is not None and known.token != wanted.token:
            known = await self._find_name(wanted.name)  # gone without a mark, it was lost, and is not free
        if not self.whole:
            known = known or await self._find_name(wanted.name)
            if known is None or (known.token == wanted.token and wanted.port not in (None, known.port)):
                self._sure()  # whose the name is, or the port
        return await self._inner.reserve(wanted, limits)

    @returns_deferred
    async def reservation(self, name: str) -> Reservation | None:
        """See L{IStore}."""
        known = self._names.get(name, _MISSING)
        found: Reservation | None = await self._ask(lambda: self._find_name(name), known)
        return found

    async def _find_name(self, name: str) -> Reservation | None:
        known = self._names.get(name)  # before it is asked: what comes to be known meanwhile proves nothing
        mark = self._marks.get(_name_mark(name), -1)
        try:
            found, released = await self._inner.find_name(name)
        except Unreadable as error:
            if known is None:
                raise
            self._guard.doubt()
            raise WentBack from error  # what is known here is written over it
        least = mark if known is None else max(mark, known.version)
        if (released if found is None else found.version) < least or (found and found.version <= mark):
            self._guard.doubt()
            raise WentBack
        if released >= 0:
            self._marked(_name_mark(name), released)
        if known is None:
            self._sure(found)
        if found is not None:
            self._learn(found)
        return found

    @returns_deferred
    async def find_reservations(self, names: Iterable[str]) -> dict[str, Reservation | None]:
        """See L{IStore}. While Redis is away, the names that are known."""
        wanted = list(names)
        known = {name: self._names[name] for name in wanted if name in self._names}
        found: dict[str, Reservation | None] = await self._ask(
            lambda: self._inner.find_reservations(wanted), known
        )
        sure: dict[str, Reservation | None] = {}
        for name, reservation in found.items():
            if reservation is not None and self._may_own(reservation):
                self._learn(reservation)
                sure[name] = reservation
            elif reservation is None and name not in known:
                if self.whole:
                    sure[name] = None
            else:
                try:
                    sure[name] = await self.reservation(name)
                except NotKnown:
                    continue
        return sure

    def _may_own(self, reservation: Reservation) -> bool:
        """Whether Redis may be believed that there is this reservation."""
        known = self._names.get(reservation.name)
        if known is None:
            return self._believed and self._marks.get(_name_mark(reservation.name), -1) < reservation.version
        return known.version <= reservation.version

    @returns_deferred
    async def remembered(self, token_id: str, agent: str, kind: str, upstream: str) -> Reservation | None:
        """See L{IStore}."""
        key = (token_id, agent, kind, upstream)
        fitting = (
            known
            for known in self._names.values()
            if known.assigned and (known.token, known.agent, known.kind, known.upstream) == key
        )
        known: Reservation | None = await self._ask(
            lambda: self._inner.remembered(*key), next(fitting, _MISSING)
        )
        if known is None or known.name not in self._names:
            self._sure(known)
        return known

    @returns_deferred
    async def reservations(self) -> list[Reservation]:
        """See L{IStore}."""
        return await self._asked(self._inner.reservations)

    @returns_deferred
    async def free_ports(self, ports: Iterable[int]) -> list[int]:
        """See L{IStore}."""
        wanted = list(ports)
        return await self._asked(lambda: self._inner.free_ports(wanted))

    @returns_deferred
    async def release(self, name: str) -> bool:
        """See L{IStore}."""
        released: bool = await self._ask(lambda: self._inner.release(name))
        if not released:
            self._sure()
        self._renewed.discard(name)
        if name in self._names:
            self._marked(_name_mark(name), self._names[name].version)
        return released

    @returns_deferred
    async def transfer(self, name: str, token_id: str) -> Reservation | None:
        """See L{IStore}."""
        moved: Reservation | None = await self._ask(lambda: self._inner.transfer(name, token_id))
        if moved is None:
            self._sure()
        else:
            self._learn(moved)
        self._renewed.discard(name)
        return moved

    @returns_deferred
    async def names_used(self, names: Iterable[str], when: float) -> None:
        """See L{IStore}."""
        used = list(names)
        await self._asked(lambda: self._inner.names_used(used, when))

    @returns_deferred
    async def free_unused(self, before: float, now: float) -> list[str]:
        """See L{IStore}. Nothing is freed that this server waits to write to Redis."""
        self._sure()
        if self._renewed:
            await self._write()
        changed: list[str] = await self._ask(lambda: self._inner.free_unused(before, now))
        for name in changed:
            self._touched.add(_name_mark(name))
            self._names.pop(name, None)  # one that only lost its port is read again
        return changed

    # -- notes ----------------------------------------------------------------------------------------------

    @returns_deferred
    async def note(self, space: str, key: str) -> str | None:
        """See L{IStore}."""
        text: str | None = await self._ask(
            lambda: self._inner.note(space, key), self._notes.get((space, key), _MISSING)
        )
        if text is None:
            if space in LASTING:
                self._sure()
            self._notes.pop((space, key), None)
        elif (space, key) in self._notes:
            self._notes[space, key] = text
        return text

    @returns_deferred
    async def notes(self, space: str) -> dict[str, str]:
        """See L{IStore}."""
        return await self._asked(lambda: self._inner.notes(space))

    @returns_deferred
    async def put_note(self, space: str, key: str, text: str, ttl: float | None = None) -> None:
        """See L{IStore}."""
        self._keep_note(space, key, text, ttl)
        await self._ask(lambda: self._inner.put_note(space, key, text, ttl))

    def _keep_note(self, space: str, key: str, text: str | None, ttl: float | None) -> None:
        if text is None or ttl is not None:
            self._notes.pop((space, key), None)
        else:
            self._notes[space, key] = text

    @returns_deferred
    async def swap_note(
        self, space: str, key: str, old: str | None, new: str | None, ttl: float | None = None
    ) -> bool:
        """See L{IStore}."""
        swapped: bool = await self._ask(lambda: self._inner.swap_note(space, key, old, new, ttl))
        if swapped:
            self._keep_note(space, key, new, ttl)
        return swapped
