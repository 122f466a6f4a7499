"""
The store in Redis, by txredisapi: for state apart from the server's disk.

Keys, all under C{burrow:}::

    tokens          hash   token id -> JSON
    token-names     hash   token's name -> id
    reservations    hash   name -> JSON
    ports           hash   port -> name
    remembered      hash   token, agent, kind, upstream -> name
    notes:SPACE     hash   key -> when its time is over, in seconds since the epoch or empty, newline, text
    epoch           text   made when the first server came; missing, or another, after a flush

What must happen in one step is a script, which Redis runs without another in between.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

import attr
from twisted.internet.defer import Deferred
from zope.interface import implementer

from burrow.errors import StoreError
from burrow.store.base import IStore, Reservation, Taken, Token
from burrow.store.connection import RedisAddress, RedisConnection

_PREFIX = "burrow:"

_ADD_TOKEN = """
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""

_REVOKE = """
local id = redis.call('HGET', KEYS[2], ARGV[1])
if not id then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[1], id)
return 1
"""

_USED = """
local token = redis.call('HGET', KEYS[1], ARGV[1])
if token then
    local record = cjson.decode(token)
    record['last_used'] = tonumber(ARGV[2])
    redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(record))
end
"""

_RESERVE = """
if ARGV[2] ~= '' and redis.call('GET', KEYS[4]) ~= ARGV[2] then return 'flushed' end
local wanted = cjson.decode(ARGV[1])
local known = redis.call('HGET', KEYS[1], wanted['name'])
if known then
    known = cjson.decode(known)
    if known['token'] ~= wanted['token'] then return 'name' end
    if wanted['port'] == cjson.null then wanted['port'] = known['port'] end
    wanted['assigned'] = known['assigned']
    wanted['created'] = known['created']
end
if wanted['port'] ~= cjson.null then
    local owner = redis.call('HGET', KEYS[2], wanted['port'])
    if owner and owner ~= wanted['name'] then return 'port' end
end
if known then
    if known['port'] ~= cjson.null then redis.call('HDEL', KEYS[2], known['port']) end
    local key = cjson.encode({known['token'], known['agent'], known['kind'], known['upstream']})
    if redis.call('HGET', KEYS[3], key) == known['name'] then redis.call('HDEL', KEYS[3], key) end
end
if wanted['port'] ~= cjson.null then redis.call('HSET', KEYS[2], wanted['port'], wanted['name']) end
if wanted['assigned'] then
    local key = cjson.encode({wanted['token'], wanted['agent'], wanted['kind'], wanted['upstream']})
    redis.call('HSET', KEYS[3], key, wanted['name'])
end
local kept = cjson.encode(wanted)
redis.call('HSET', KEYS[1], wanted['name'], kept)
return kept
"""

_REMEMBERED = """
local name = redis.call('HGET', KEYS[2], cjson.encode({ARGV[1], ARGV[2], ARGV[3], ARGV[4]}))
if not name then return false end
return redis.call('HGET', KEYS[1], name)
"""

_RELEASE = """
local known = redis.call('HGET', KEYS[1], ARGV[1])
if not known then return 0 end
known = cjson.decode(known)
redis.call('HDEL', KEYS[1], ARGV[1])
if known['port'] ~= cjson.null then redis.call('HDEL', KEYS[2], known['port']) end
local key = cjson.encode({known['token'], known['agent'], known['kind'], known['upstream']})
if redis.call('HGET', KEYS[3], key) == ARGV[1] then redis.call('HDEL', KEYS[3], key) end
return 1
"""

_NOTES = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local function read(raw)
    if not raw then return false end
    local newline = string.find(raw, '\\n', 1, true)
    local ends = tonumber(string.sub(raw, 1, newline - 1))
    if ends and ends <= now then return false end
    return string.sub(raw, newline + 1)
end
local function write(key, text, ttl)
    local ends = ''
    if ttl ~= '' then ends = string.format('%.3f', now + ttl) end
    redis.call('HSET', KEYS[1], key, ends .. '\\n' .. text)
end
"""

_NOTE = (
    _NOTES
    + """
return read(redis.call('HGET', KEYS[1], ARGV[1]))
"""
)

_ALL_NOTES = (
    _NOTES
    + """
local all = redis.call('HGETALL', KEYS[1])
local found = {}
for i = 1, #all, 2 do
    local text = read(all[i + 1])
    if text then
        found[#found + 1] = all[i]
        found[#found + 1] = text
    else
        redis.call('HDEL', KEYS[1], all[i])
    end
end
return found
"""
)

_PUT_NOTE = (
    _NOTES
    + """
write(ARGV[1], ARGV[2], ARGV[3])
"""
)

_SWAP_NOTE = (
    _NOTES
    + """
local known = read(redis.call('HGET', KEYS[1], ARGV[1]))
if ARGV[2] == '' then
    if known then return 0 end
elseif known ~= string.sub(ARGV[2], 2) then
    return 0
end
if ARGV[3] == '' then
    redis.call('HDEL', KEYS[1], ARGV[1])
else
    write(ARGV[1], string.sub(ARGV[3], 2), ARGV[4])
end
return 1
"""
)

_EPOCH = _PREFIX + "epoch"
_TOKENS = [_PREFIX + "tokens", _PREFIX + "token-names"]
_RESERVATIONS = [_PREFIX + "reservations", _PREFIX + "ports", _PREFIX + "remembered"]


def _token(text: Any) -> Token | None:
    if text is None:
        return None
    fields = json.loads(text)
    return Token(**{**fields, "digest": bytes.fromhex(fields["digest"])})


def _reservation(text: Any) -> Reservation | None:
    return None if text is None else Reservation(**json.loads(text))


class Flushed(StoreError):
    """What was in Redis is gone: a name may belong to somebody though it looks free."""


@implementer(IStore)
class RedisStore:
    """
    @param address: which Redis.
    @ivar epoch: a word that is another one after each flush.
    """

    whole = True

    def __init__(self, reactor: Any, address: RedisAddress) -> None:
        self._connection = RedisConnection(reactor, address)
        self._ask = self._connection.ask
        self.epoch = ""

    def open(self) -> Deferred[None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> None:
        await self._connection.open()
        try:
            await self.settle()
        except BaseException:
            await self._connection.close()
            raise

    def close(self) -> Deferred[None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._connection.close())

    async def flushed(self) -> bool:
        """
        Whether what was here when the store was settled is gone, as after FLUSHALL.

        @raise StoreError: nobody knows.
        """
        return bool(await self._ask("get", _EPOCH) != self.epoch)

    async def settle(self) -> None:
        """Take what is here now for all there is: until the next flush, L{flushed} is false."""
        await self._ask("setnx", _EPOCH, secrets.token_hex(8))
        self.epoch = await self._ask("get", _EPOCH) or ""

    async def _run(self, script: str, keys: list[str], *arguments: str) -> Any:
        return await self._ask("eval", script, keys, list(arguments))

    def add_token(self, token: Token) -> Deferred[None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._add_token(token))

    async def _add_token(self, token: Token) -> None:
        record = json.dumps({**attr.asdict(token), "digest": token.digest.hex()})
        if not int(await self._run(_ADD_TOKEN, _TOKENS, token.id, token.name, record)):
            raise Taken(f"there is a token named {token.name!r} already")

    def token(self, token_id: str) -> Deferred[Token | None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._get_token(token_id))

    async def _get_token(self, token_id: str) -> Token | None:
        return _token(await self._ask("hget", _TOKENS[0], token_id))

    def tokens(self) -> Deferred[list[Token]]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._get_tokens())

    async def _get_tokens(self) -> list[Token]:
        found = [_token(text) for text in await self._ask("hvals", _TOKENS[0])]
        return sorted((token for token in found if token is not None), key=lambda token: token.name)

    def revoke_token(self, name: str) -> Deferred[bool]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._flag(_REVOKE, _TOKENS, name))

    async def _flag(self, script: str, keys: list[str], *arguments: str) -> bool:
        return bool(int(await self._run(script, keys, *arguments)))

    def token_used(self, token_id: str, when: float) -> Deferred[None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._token_used(token_id, when))

    async def _token_used(self, token_id: str, when: float) -> None:
        await self._run(_USED, _TOKENS, token_id, repr(when))

    def reserve(self, reservation: Reservation) -> Deferred[Reservation]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._reserve(reservation))

    async def _reserve(self, wanted: Reservation, *, whatever: bool = False) -> Reservation:
        epoch = "" if whatever else self.epoch
        keys = [*_RESERVATIONS, _EPOCH]
        answer = await self._run(_RESERVE, keys, json.dumps(attr.asdict(wanted)), epoch)
        if answer == "flushed":
            raise Flushed("Redis was flushed; it is filled again by the servers that know what was there")
        if answer == "name":
            raise Taken(f"the name {wanted.name!r} belongs to another token")
        if answer == "port":
            raise Taken(f"port {wanted.port} belongs to another name")
        return Reservation(**json.loads(answer))

    def refill(self, reservation: Reservation) -> Deferred[Reservation]:
        """L{reserve} after a flush, for what was known before it."""
        return Deferred.fromCoroutine(self._reserve(reservation, whatever=True))

    def reservation(self, name: str) -> Deferred[Reservation | None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._get_reservation(name))

    async def _get_reservation(self, name: str) -> Reservation | None:
        return _reservation(await self._ask("hget", _RESERVATIONS[0], name))

    def remembered(self, token_id: str, agent: str, kind: str, upstream: str) -> Deferred[Reservation | None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._remembered(token_id, agent, kind, upstream))

    async def _remembered(self, *key: str) -> Reservation | None:
        keys = [_RESERVATIONS[0], _RESERVATIONS[2]]
        return _reservation(await self._run(_REMEMBERED, keys, *key))

    def reservations(self) -> Deferred[list[Reservation]]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._get_reservations())

    async def _get_reservations(self) -> list[Reservation]:
        found = [_reservation(text) for text in await self._ask("hvals", _RESERVATIONS[0])]
        return sorted((known for known in found if known is not None), key=lambda known: known.name)

    def release(self, name: str) -> Deferred[bool]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._flag(_RELEASE, _RESERVATIONS, name))

    # -- notes --------------------------------------------------------------------------------------------

    def note(self, space: str, key: str) -> Deferred[str | None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._run(_NOTE, [_space(space)], key))

    def notes(self, space: str) -> Deferred[dict[str, str]]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._get_notes(space))

    async def _get_notes(self, space: str) -> dict[str, str]:
        found = await self._run(_ALL_NOTES, [_space(space)])
        return dict(zip(found[::2], found[1::2], strict=True))

    def put_note(self, space: str, key: str, text: str, ttl: float | None = None) -> Deferred[None]:
        """See L{IStore}."""
        return Deferred.fromCoroutine(self._run(_PUT_NOTE, [_space(space)], key, text, _seconds(ttl)))

    def swap_note(
        self, space: str, key: str, old: str | None, new: str | None, ttl: float | None = None
    ) -> Deferred[bool]:
        """See L{IStore}."""
        # "=" before a text tells an empty one from none.
        texts = ["" if text is None else "=" + text for text in (old, new)]
        return Deferred.fromCoroutine(self._flag(_SWAP_NOTE, [_space(space)], key, *texts, _seconds(ttl)))


def _space(space: str) -> str:
    return f"{_PREFIX}notes:{space}"


def _seconds(ttl: float | None) -> str:
    return "" if ttl is None else repr(float(ttl))
