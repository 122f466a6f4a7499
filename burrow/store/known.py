"""
A store in Redis that may go away, or lose everything, while its server goes on.

What the server has seen of Redis it remembers: all tokens and reservations, and the notes without a time that
went through here. From that

- it answers while Redis is away: known tokens and the names they own; anything else is a L{StoreError};
- it writes, once Redis is back, what could not be written: renewed reservations, and when tokens were used;
- it fills a Redis again that was flushed, before it believes that something is not there; and then waits a
  little for what other servers know, before it says so.

What bounds it: as much as is in Redis, of which the holders of tokens decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, FirstError, gatherResults
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from burrow.errors import StoreError
from burrow.store.base import UNLIMITED, IStore, Limits, Reservation, Taken, Token, renewed
from burrow.store.redis import Flushed, RedisStore
from burrow.store.spaces import ACCOUNTS, CERTIFICATES

LOOK_EVERY = 1.0
"""Seconds between two looks whether Redis is there, and whether it is the one that it was."""

READ_EVERY = 30
"""Looks after which everything is read anew: so long a revoked token may be believed while Redis is away."""

PATIENCE = 0.5
"""Seconds that Redis may take for what is known here anyway."""

SETTLE = 5.0
"""Seconds after a flush was seen in which other servers, too, write what they know."""

_AT_ONCE = 100
_LASTING = (CERTIFICATES, ACCOUNTS)
_T = TypeVar("_T")
_MISSING = object()


@implementer(IStore)
class KnownStore:
    """
    @param inner: the store in Redis, not opened yet.
    @param mark: a file that remembers which Redis it was, so that one that is flushed while its server starts
        is known for it.
    @param alone: whether no other server uses the Redis, as far as is known: nobody else writes then.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        inner: RedisStore,
        mark: Path | None = None,
        alone: Callable[[], bool] = lambda: False,
    ) -> None:
        self._clock = clock
        self._inner = inner
        self._mark = mark
        self._alone = alone
        self._lost = float("-inf")
        self._tokens: dict[str, Token] = {}
        self._names: dict[str, Reservation] = {}
        self._notes: dict[tuple[str, str], str] = {}
        self._used: dict[str, float] = {}
        self._renewed: set[str] = set()
        self._away = False
        self._looks = 0
        self._filling = DeferredLock()
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock

    @property
    def whole(self) -> bool:
        """See L{IStore}."""
        return bool(self._clock.seconds() - self._lost >= SETTLE)

    # -- its life -----------------------------------------------------------------------------------------

    def open(self) -> Deferred[None]:
        """See L{IStore}. Redis must be there: nothing is known yet."""
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> None:
        await self._inner.open()
        if self._marked() not in ("", self._inner.epoch):
            self._lost = self._clock.seconds()
        self._write_mark()
        await self._read()
        self._loop.start(LOOK_EVERY, now=False)

    def close(self) -> Deferred[None]:
        """See L{IStore}. What could not be written yet is tried once more."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        if self._loop.running:
            self._loop.stop()
        await self._look()
        await self._inner.close()

    def _marked(self) -> str:
        try:
            return "" if self._mark is None else self._mark.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""

    def _write_mark(self) -> None:
        if self._mark is None or self._marked() == self._inner.epoch:
            return
        try:
            self._mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._mark.write_text(self._inner.epoch + "\n", encoding="ascii")
        except OSError as error:
            self.log.warn("{file} cannot be written: {error}", file=str(self._mark), error=error)

    async def _read(self) -> None:
        tokens = await self._inner.tokens()
        names = await self._inner.reservations()
        self._tokens = {token.id: token for token in tokens}
        self._names = {
            **{reservation.name: reservation for reservation in names},
            **{name: self._names[name] for name in self._renewed},
        }

    async def _look(self) -> None:
        try:
            if await self._inner.flushed():
                await self._fill()
            await self._write()
            self._looks += 1
            if self._looks % READ_EVERY == 0 and not await self._inner.flushed():
                await self._read()
        except StoreError as error:
            self._gone(error)
            return
        if self._away:
            self._away = False
            self.log.info("Redis is back: what waited for it is written")

    def _gone(self, error: StoreError) -> None:
        if not self._away:
            self._away = True
            self.log.error("the store is away, what is known goes on: {error}", error=error)

    async def _write(self) -> None:
        """Write what could not be written before."""
        for name in list(self._renewed):
            try:
                self._names[name] = await self._inner.reserve(self._names[name])
            except Taken as error:
                del self._names[name]
                self.log.error("a reservation that waited for Redis is lost: {error}", error=error)
            self._renewed.discard(name)
        while self._used:
            token_id, when = next(iter(self._used.items()))
            await self._inner.token_used(token_id, when)
            self._used.pop(token_id, None)

    # -- a flushed Redis ------------------------------------------------------------------------------------

    async def _fill(self) -> None:
        """Put everything that is known where it is missing."""
        async with self._filling:
            if not await self._inner.flushed():
                return
            if not self._alone():
                self._lost = self._clock.seconds()
            self.log.warn(
                "Redis lost what was in it: writing {tokens} tokens and {names} names again",
                tokens=len(self._tokens),
                names=len(self._names),
            )
            await self._each(self._tokens.values(), self._inner.add_token)
            await self._each(self._names.values(), self._inner.refill)
            for (space, key), text in self._notes.items():
                await self._inner.swap_note(space, key, None, text)
            await self._inner.settle()
            self._write_mark()

    async def _each(self, records: Any, write: Callable[[Any], Deferred[Any]]) -> None:
        def one(record: Any) -> Deferred[Any]:
            return write(record).addErrback(lambda reason: reason.trap(Taken))

        waiting = list(records)
        while waiting:
            batch, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
            try:
                await gatherResults([one(record) for record in batch], consumeErrors=True)
            except FirstError as error:
                raise StoreError(error.subFailure.getErrorMessage()) from error

    async def _ask(self, ask: Callable[[], Deferred[_T]], known: object = _MISSING) -> _T | Any:
        """
        Ask Redis. If it knows nothing of it, it may have been flushed: it is filled then, and asked again.

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

    async def _asked(self, ask: Callable[[], Deferred[_T]]) -> _T:
        try:
            try:
                answer = await ask()
            except Flushed:
                await self._fill()
                return await ask()
            if answer is None and await self._inner.flushed():
                await self._fill()
                return await ask()
        except Taken:
            raise
        except StoreError as error:
            self._gone(error)
            raise
        return answer

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

    def _missing(self) -> None:
        """Something is not there. @raise StoreError: it may be yet."""
        if not self.whole:
            raise StoreError("Redis lost what was in it, and the servers write it again")

    # -- tokens ---------------------------------------------------------------------------------------------

    def add_token(self, token: Token) -> Deferred[None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._add_token(token))

    async def _add_token(self, token: Token) -> None:
        await self._ask(lambda: self._inner.add_token(token))
        self._tokens[token.id] = token

    def token(self, token_id: str) -> Deferred[Token | None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._token(token_id))

    async def _token(self, token_id: str) -> Token | None:
        token: Token | None = await self._ask(
            lambda: self._inner.token(token_id), self._tokens.get(token_id, _MISSING)
        )
        if token is None:
            self._missing()
            self._tokens.pop(token_id, None)
        else:
            self._tokens[token_id] = token
        return token

    def tokens(self) -> Deferred[list[Token]]:
        """See L{IStore}."""
        return self._inner.tokens()

    def revoke_token(self, name: str) -> Deferred[bool]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._revoke_token(name))

    async def _revoke_token(self, name: str) -> bool:
        revoked: bool = await self._ask(lambda: self._inner.revoke_token(name))
        self._tokens = {key: token for key, token in self._tokens.items() if token.name != name}
        return revoked

    def token_used(self, token_id: str, when: float) -> Deferred[None]:
        """See L{IStore}. Never fails: written later, if not now."""
        return self._soon(Deferred.fromCoroutine(self._token_used(token_id, when)), None)

    async def _token_used(self, token_id: str, when: float) -> None:
        if token_id in self._tokens:
            self._used[token_id] = when
        if not self._away:
            try:
                await self._inner.token_used(token_id, when)
                self._used.pop(token_id, None)
            except StoreError as error:
                self._gone(error)

    def find_tokens(self, ids: Iterable[str]) -> Deferred[dict[str, Token]]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._find_tokens(list(ids)))

    async def _find_tokens(self, ids: list[str]) -> dict[str, Token]:
        found: dict[str, Token] = await self._ask(lambda: self._inner.find_tokens(ids))
        self._tokens.update(found)
        return found

    def change_token(self, name: str, changes: dict[str, Any]) -> Deferred[Token | None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._change_token(name, changes))

    async def _change_token(self, name: str, changes: dict[str, Any]) -> Token | None:
        token: Token | None = await self._ask(lambda: self._inner.change_token(name, changes))
        if token is None:
            self._missing()
        else:
            self._tokens[token.id] = token
        return token

    # -- reservations --------------------------------------------------------------------------------------

    def reserve(self, reservation: Reservation, limits: Limits = UNLIMITED) -> Deferred[Reservation]:
        """See L{IStore}. While Redis is away, a name that is known for the token's is renewed."""
        return Deferred.fromCoroutine(self._reserve(reservation, limits))

    async def _reserve(self, wanted: Reservation, limits: Limits) -> Reservation:
        known = self._names.get(wanted.name)
        ours = known is not None and known.token == wanted.token and wanted.port in (None, known.port)
        if not (self._away and ours):
            try:
                if known is None:
                    await self._reservation(wanted.name)  # fails if nobody can tell yet whose it is
                kept: Reservation = await self._ask(lambda: self._inner.reserve(wanted, limits))
                self._names[kept.name] = kept
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

    def reservation(self, name: str) -> Deferred[Reservation | None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._reservation(name))

    async def _reservation(self, name: str) -> Reservation | None:
        known: Reservation | None = await self._ask(
            lambda: self._inner.reservation(name), self._names.get(name, _MISSING)
        )
        if known is None:
            self._missing()
            self._names.pop(name, None)
        else:
            self._names[name] = known
        return known

    def find_reservations(self, names: Iterable[str]) -> Deferred[dict[str, Reservation | None]]:
        """See L{IStore}. While Redis is away, the names that are known."""
        return Deferred.fromCoroutine(self._find_reservations(list(names)))

    async def _find_reservations(self, names: list[str]) -> dict[str, Reservation | None]:
        known = {name: self._names[name] for name in names if name in self._names}
        found: dict[str, Reservation | None] = await self._ask(
            lambda: self._inner.find_reservations(names), known
        )
        if found is not known and None in found.values() and await self._flushed():
            found = await self._ask(lambda: self._inner.find_reservations(names), known)
        for name, reservation in found.items():
            if reservation is not None:
                self._names[name] = reservation
            elif self.whole:
                self._names.pop(name, None)
        return {name: one for name, one in found.items() if one is not None or self.whole}

    async def _flushed(self) -> bool:
        """Whether Redis was flushed, or cannot tell; it is filled then."""
        try:
            if not await self._inner.flushed():
                return False
            await self._fill()
        except StoreError as error:
            self._gone(error)
        return True

    def remembered(self, token_id: str, agent: str, kind: str, upstream: str) -> Deferred[Reservation | None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._remembered(token_id, agent, kind, upstream))

    async def _remembered(self, *key: str) -> Reservation | None:
        fitting = (
            known
            for known in self._names.values()
            if known.assigned and (known.token, known.agent, known.kind, known.upstream) == key
        )
        known: Reservation | None = await self._ask(
            lambda: self._inner.remembered(*key), next(fitting, _MISSING)
        )
        if known is None:
            self._missing()
        return known

    def reservations(self) -> Deferred[list[Reservation]]:
        """See L{IStore}."""
        return self._inner.reservations()

    def release(self, name: str) -> Deferred[bool]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._release(name))

    async def _release(self, name: str) -> bool:
        released: bool = await self._ask(lambda: self._inner.release(name))
        self._names.pop(name, None)
        self._renewed.discard(name)
        return released

    def transfer(self, name: str, token_id: str) -> Deferred[Reservation | None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._transfer(name, token_id))

    async def _transfer(self, name: str, token_id: str) -> Reservation | None:
        moved: Reservation | None = await self._ask(lambda: self._inner.transfer(name, token_id))
        if moved is None:
            self._missing()
            self._names.pop(name, None)
        else:
            self._names[name] = moved
        self._renewed.discard(name)
        return moved

    def names_used(self, names: Iterable[str], when: float) -> Deferred[None]:
        """See L{IStore}."""
        used = list(names)
        return Deferred.fromCoroutine(self._asked(lambda: self._inner.names_used(used, when)))

    def free_unused(self, before: float, now: float) -> Deferred[list[str]]:
        """See L{IStore}. Nothing is freed that this server waits to write to Redis."""
        return Deferred.fromCoroutine(self._free_unused(before, now))

    async def _free_unused(self, before: float, now: float) -> list[str]:
        if self._renewed:
            await self._write()
        changed: list[str] = await self._ask(lambda: self._inner.free_unused(before, now))
        for name in changed:
            self._names.pop(name, None)  # one that only lost its port is read again
        return changed

    # -- notes ----------------------------------------------------------------------------------------------

    def note(self, space: str, key: str) -> Deferred[str | None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._note(space, key))

    async def _note(self, space: str, key: str) -> str | None:
        text: str | None = await self._ask(
            lambda: self._inner.note(space, key), self._notes.get((space, key), _MISSING)
        )
        if text is None:
            if space in _LASTING:
                self._missing()
            self._notes.pop((space, key), None)
        elif (space, key) in self._notes:
            self._notes[space, key] = text
        return text

    def notes(self, space: str) -> Deferred[dict[str, str]]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._notes_of(space))

    async def _notes_of(self, space: str) -> dict[str, str]:
        notes: dict[str, str] = await self._inner.notes(space)
        if await self._inner.flushed():
            await self._fill()
            notes = await self._inner.notes(space)
        return notes

    def put_note(self, space: str, key: str, text: str, ttl: float | None = None) -> Deferred[None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._put_note(space, key, text, ttl))

    async def _put_note(self, space: str, key: str, text: str, ttl: float | None) -> None:
        self._keep_note(space, key, text, ttl)
        await self._ask(lambda: self._inner.put_note(space, key, text, ttl))

    def _keep_note(self, space: str, key: str, text: str | None, ttl: float | None) -> None:
        if text is None or ttl is not None:
            self._notes.pop((space, key), None)
        else:
            self._notes[space, key] = text

    def swap_note(
        self, space: str, key: str, old: str | None, new: str | None, ttl: float | None = None
    ) -> Deferred[bool]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._swap_note(space, key, old, new, ttl))

    async def _swap_note(
        self, space: str, key: str, old: str | None, new: str | None, ttl: float | None
    ) -> bool:
        swapped: bool = await self._ask(lambda: self._inner.swap_note(space, key, old, new, ttl))
        if swapped:
            self._keep_note(space, key, new, ttl)
        return swapped
