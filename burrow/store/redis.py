"""
The store in Redis, by txredisapi: for state apart from the server's disk.

Keys, all under C{burrow:}::

    tokens          hash   token id -> JSON
    token-names     hash   token's name -> id
    reservations    hash   name -> JSON
    ports           hash   port -> name
    remembered      hash   token, agent, kind, upstream -> name
    notes:SPACE     hash   key -> when its time is over, in seconds since the epoch or empty, newline, text
    notes:SPACE:ends  zset  keys by when their time is over: at each write some go that are over

and those of L{burrow.store.guard}. What must happen in one step is a script, which Redis runs without another
in between.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeVar, get_args, get_type_hints

import attr
from twisted.logger import Logger
from zope.interface import implementer

from burrow.limits import UNLIMITED, Limits
from burrow.store.base import TOKEN_USED_STEP, USED_STEP, IStore, OverQuota, Reservation, Taken, Token, record
from burrow.store.connection import RedisAddress, RedisConnection
from burrow.store.deferring import returns_deferred
from burrow.store.guard import PREFIX, Guard

_ADD_TOKEN = """
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""

_REVOKE = """
local id = redis.call('HGET', KEYS[2], ARGV[1])
if not id or ARGV[1] == '' then return 0 end
mark('token:' .. id, 0)
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[1], id)
return 1
"""

_USED = """
local token = redis.call('HGET', KEYS[1], ARGV[1])
if token then
    local record = decoded(token, ARGV[1])
    if not record then return end
    local known, used = tonumber(record['last_used']), tonumber(ARGV[2])
    if known and known <= used and used < known + ARGV[3] then
        writes = '0'  -- nothing changes: the guard has no generation to advance, either
        return
    end
    record['last_used'] = used
    redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(record))
end
"""

_CHANGE_TOKEN = """
local id = redis.call('HGET', KEYS[2], ARGV[1])
local token = id and redis.call('HGET', KEYS[1], id)
token = token and decoded(token, id)
if not token then return false end
for field, value in pairs(cjson.decode(ARGV[2])) do token[field] = value end
token['version'] = (token['version'] or 0) + 1
local kept = cjson.encode(token)
redis.call('HSET', KEYS[1], id, kept)
return {id, kept}
"""

_RESERVATION = """
local function given(value) return value ~= nil and value ~= cjson.null end
local function key_of(known)
    return cjson.encode({known['token'], known['agent'], known['kind'], known['upstream']})
end
local function forget(known)
    if given(known['port']) then redis.call('HDEL', KEYS[2], known['port']) end
    local key = key_of(known)
    if redis.call('HGET', KEYS[3], key) == known['name'] then redis.call('HDEL', KEYS[3], key) end
end
local function remove(known)
    mark('name:' .. known['name'], known['version'] or 0)
    redis.call('HDEL', KEYS[1], known['name'])
    forget(known)
end
local function keep(known)
    if given(known['port']) then redis.call('HSET', KEYS[2], known['port'], known['name']) end
    if known['assigned'] then redis.call('HSET', KEYS[3], key_of(known), known['name']) end
    local kept = cjson.encode(known)
    redis.call('HSET', KEYS[1], known['name'], kept)
    return kept
end
"""

_RESERVE = (
    _RESERVATION
    + """
local wanted = cjson.decode(ARGV[1])
local text = redis.call('HGET', KEYS[1], wanted['name'])
local known = text
if known then
    known = decoded(known, wanted['name'])  -- what cannot be read is nobody's, and not free
    if not known or known['token'] ~= wanted['token'] then return 'name' end
else
    wanted['version'] = (marked('name:' .. wanted['name']) or -1) + 1
end
local more_names = not known and ARGV[2] ~= ''
local more_ports = given(wanted['port']) and not (known and given(known['port'])) and ARGV[3] ~= ''
if known then
    if not given(wanted['port']) then
        wanted['port'] = known['port']
        wanted['port_assigned'] = known['port_assigned']
    end
    wanted['asked'] = known['asked'] == true or wanted['asked']
    wanted['assigned'] = known['assigned']
    wanted['created'] = known['created']
    wanted['version'] = known['version'] or 0
    if given(known['used']) and not (given(wanted['used']) and wanted['used'] >= known['used'] + ARGV[4]) then
        wanted['used'] = known['used']
    end
    for field, value in pairs(known) do
        if wanted[field] == nil then wanted[field] = value end  -- of a newer release
    end
end
if given(wanted['port']) then
    local owner = redis.call('HGET', KEYS[2], wanted['port'])
    if owner and owner ~= wanted['name'] then return 'port' end
end
if more_names or more_ports then
    local names, ports = 0, 0
    for _, text in ipairs(redis.call('HVALS', KEYS[1])) do
        if string.find(text, wanted['token'], 1, true) then
            local own = decoded(text)
            if own and own['token'] == wanted['token'] then
                names = names + 1
                if given(own['port']) then ports = ports + 1 end
            end
        end
    end
    if more_names and names >= tonumber(ARGV[2]) then return 'names' end
    if more_ports and ports >= tonumber(ARGV[3]) then return 'ports' end
end
if known then
    local same = not given(known['port']) or redis.call('HGET', KEYS[2], known['port']) == known['name']
    if known['assigned'] then same = same and redis.call('HGET', KEYS[3], key_of(known)) == known['name'] end
    for field, value in pairs(wanted) do same = same and known[field] == value end
    if same then
        writes = '0'  -- nothing changes: the guard has no generation to advance, either
        return text
    end
    forget(known)
end
return keep(wanted)
"""
)

_REMEMBERED = """
local name = redis.call('HGET', KEYS[2], cjson.encode({ARGV[1], ARGV[2], ARGV[3], ARGV[4]}))
if not name then return false end
return {name, redis.call('HGET', KEYS[1], name) or ''}
"""

_RELEASE = (
    _RESERVATION
    + """
local known = redis.call('HGET', KEYS[1], ARGV[1])
if not known or ARGV[1] == '' then return 0 end
known = decoded(known, ARGV[1])
if known then remove(known) else redis.call('HDEL', KEYS[1], ARGV[1]) end
return 1
"""
)

_TRANSFER = (
    _RESERVATION
    + """
local known = redis.call('HGET', KEYS[1], ARGV[1])
known = known and decoded(known, ARGV[1])
if not known then return false end
forget(known)
known['token'] = ARGV[2]
known['asked'] = true
known['version'] = (known['version'] or 0) + 1
return keep(known)
"""
)

_NAMES_USED = """
for i = 2, #ARGV do
    local known = decoded(redis.call('HGET', KEYS[1], ARGV[i]), ARGV[i])
    if known then
        known['used'] = tonumber(ARGV[1])
        redis.call('HSET', KEYS[1], ARGV[i], cjson.encode(known))
    end
end
"""

_FREE_UNUSED = (
    _RESERVATION
    + """
local before, now = tonumber(ARGV[1]), tonumber(ARGV[2])
local changed = {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
    local name = all[i]
    local known = decoded(all[i + 1], name)
    if not known then known = {used = now} end
    if not given(known['used']) then
        known['used'] = now
        keep(known)
    elseif known['used'] < before then
        local chosen = known['port_assigned']
        if not given(chosen) then chosen = known['assigned'] end
        if known['assigned'] and known['asked'] ~= true and (chosen or not given(known['port'])) then
            remove(known)
            changed[#changed + 1] = name
        elseif chosen and given(known['port']) then
            forget(known)
            known['port'] = cjson.null
            known['port_assigned'] = cjson.null
            keep(known)
            changed[#changed + 1] = name
        end
    end
end
return changed
"""
)

_MERGE_TOKEN = """
local mine = cjson.decode(ARGV[1])
if marked('token:' .. mine['id']) then return 0 end
local known = redis.call('HGET', KEYS[1], mine['id'])
known = known and decoded(known, mine['id'])
if known then
    local used, other = known['last_used'], mine['last_used']
    if type(used) ~= 'number' or (type(other) == 'number' and other > used) then used = other end
    if (known['version'] or 0) < (mine['version'] or 0) then
        for field, value in pairs(mine) do known[field] = value end
    end
    known['last_used'] = used
    mine = known
end
local owner = redis.call('HGET', KEYS[2], mine['name'])
if owner and owner ~= mine['id'] and redis.call('HEXISTS', KEYS[1], owner) == 1 then
    mine['name'] = string.sub(mine['name'], 1, 52) .. '-' .. mine['id']
end
redis.call('HSET', KEYS[2], mine['name'], mine['id'])
redis.call('HSET', KEYS[1], mine['id'], cjson.encode(mine))
return 1
"""

_MERGE_NAME = (
    _RESERVATION
    + """
local mine = cjson.decode(ARGV[1])
local version = mine['version'] or 0
if (marked('name:' .. mine['name']) or -1) >= version then return 0 end
local known = redis.call('HGET', KEYS[1], mine['name'])
known = known and decoded(known, mine['name'])
if known then
    local same = known['token'] == mine['token']
    if (known['version'] or 0) > version then return 0 end
    if (known['version'] or 0) == version and not same then return 0 end
    if same and not given(mine['port']) then
        mine['port'] = known['port']
        mine['port_assigned'] = known['port_assigned']
    end
    if given(known['used']) and not (given(mine['used']) and mine['used'] > known['used']) then
        mine['used'] = known['used']
    end
    forget(known)
end
if given(mine['port']) then
    local owner = redis.call('HGET', KEYS[2], mine['port'])
    if owner and owner ~= mine['name'] then mine['port'] = cjson.null end
end
keep(mine)
return 1
"""
)

_MERGE_MARK = (
    _RESERVATION
    + """
local version = tonumber(ARGV[2])
mark(ARGV[1], version)
local kind, name = string.match(ARGV[1], '^(%a+):(.*)$')
if kind == 'name' then
    local known = redis.call('HGET', KEYS[1], name)
    known = known and decoded(known, name)
    if known and (known['version'] or 0) <= version then remove(known) end
elseif kind == 'token' then
    local known = redis.call('HGET', KEYS[4], name)
    known = known and decoded(known, name)
    if known then
        local called = known['name']
        if redis.call('HGET', KEYS[5], called) == name then redis.call('HDEL', KEYS[5], called) end
        redis.call('HDEL', KEYS[4], name)
    end
end
"""
)

_INDEX = (
    _RESERVATION
    + """
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
    local known = decoded(all[i + 1], all[i])
    if known then
        if given(known['port']) then
            local owner = redis.call('HGET', KEYS[2], known['port'])
            if owner and owner ~= known['name'] then known['port'] = cjson.null end
        end
        keep(known)
    end
end
for _, text in ipairs(redis.call('HVALS', KEYS[4])) do
    local known = decoded(text)
    if known and known['id'] then redis.call('HSETNX', KEYS[5], known['name'], known['id']) end
end
"""
)

_EVERYTHING = """
return {
    redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', key('marks'))
}
"""

_ALL = "return redis.call('HGETALL', KEYS[1])"
_SEVERAL = "return redis.call('HMGET', KEYS[1], unpack(ARGV))"

_TOKEN_OF = """
return {redis.call('HGET', KEYS[1], ARGV[1]) or '', tostring(marked('token:' .. ARGV[1]) or '')}
"""

_NAME_OF = """
return {redis.call('HGET', KEYS[1], ARGV[1]) or '', tostring(marked('name:' .. ARGV[1]) or '')}
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
    local index = KEYS[1] .. ':ends'
    if ends == '' then redis.call('ZREM', index, key) else redis.call('ZADD', index, ends, key) end
    for _, old in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', now, 'LIMIT', 0, 20)) do
        if not read(redis.call('HGET', KEYS[1], old)) then redis.call('HDEL', KEYS[1], old) end
        redis.call('ZREM', index, old)
    end
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
    if text and all[i] ~= '' then
        found[#found + 1] = all[i]
        found[#found + 1] = text
    elseif not text then
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
    redis.call('ZREM', KEYS[1] .. ':ends', ARGV[1])
else
    write(ARGV[1], string.sub(ARGV[3], 2), ARGV[4])
end
return 1
"""
)

_TOKENS = [PREFIX + "tokens", PREFIX + "token-names"]
_RESERVATIONS = [PREFIX + "reservations", PREFIX + "ports", PREFIX + "remembered"]
_AT_ONCE = 500


_R = TypeVar("_R", Token, Reservation)
_KINDS: dict[type, Any] = {float: (int, float)}
_FIELDS = {
    kind: {field: tuple(get_args(hint)) or (hint,) for field, hint in get_type_hints(kind).items()}
    for kind in (Token, Reservation)
}


def _record(kind: type[_R], text: str) -> _R:
    """@raise ValueError: the text is no such record; TypeError, KeyError, AttributeError likewise."""
    fields = dict(json.loads(text))
    if kind is Token:
        fields["digest"] = bytes.fromhex(fields["digest"])
    read = record(kind, fields)
    for field, hints in _FIELDS[kind].items():
        value = getattr(read, field)
        if not any(isinstance(value, _KINDS.get(hint, hint)) for hint in hints):
            raise ValueError(f"{field} is {type(value).__name__}")
    return read


class Unreadable(Taken):
    """A name's record is there and cannot be read: whose it is nobody knows."""


def _text(one: Token | Reservation) -> str:
    fields = attr.asdict(one)
    if isinstance(one, Token):
        fields["digest"] = one.digest.hex()
    return json.dumps(fields)


@attr.frozen
class Everything:
    """
    All that was in Redis at one moment.

    @ivar marks: versions of what was revoked or released, by "token:ID" and "name:NAME".
    @ivar order: how many marks were made by then.
    """

    tokens: dict[str, Token]
    names: dict[str, Reservation]
    marks: dict[str, int]
    order: int


@implementer(IStore)
class RedisStore:
    """
    @param address: which Redis.
    @ivar guard: tells whether it has what it had; all but what mends it fails with L{WentBack} where not.
    """

    whole = True

    log = Logger()

    def __init__(self, reactor: Any, address: RedisAddress) -> None:
        self._unreadable: set[tuple[str, str]] = set()
        self._connection = RedisConnection(reactor, address)
        self.guard = Guard(self._connection)
        self._run = self.guard.run

    @returns_deferred
    async def open(self) -> None:
        """See L{IStore}."""
        await self._connection.open()
        try:
            await self.guard.settle()
        except BaseException:
            await self._connection.close()
            raise

    @returns_deferred
    async def close(self) -> None:
        """See L{IStore}."""
        await self._connection.close()

    async def _look(self, script: str, keys: list[str], *arguments: str) -> Any:
        return await self._run(script, keys, *arguments, writes=False)

    # -- records --------------------------------------------------------------------------------------------

    def _read(self, kind: type[_R], key: str, text: str) -> _R | None:
        """A record, or None for one that cannot be read: the log says once how to remove it."""
        hash_key = (_TOKENS if kind is Token else _RESERVATIONS)[0]
        try:
            read = _record(kind, text)
            if key == (read.id if isinstance(read, Token) else read.name):
                self._unreadable.discard((hash_key, key))
                return read
            problem = "it is another's"
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            problem = f"{type(error).__name__}: {error}"
        if (hash_key, key) not in self._unreadable:
            self._unreadable.add((hash_key, key))
            self.log.error(
                "the record of {key} in Redis cannot be read, and is left out: {problem}; remove it with "
                "HDEL {hash} {key}",
                key=key,
                hash=hash_key,
                problem=problem,
            )
        return None

    def _read_all(self, kind: type[_R], found: list[str]) -> dict[str, _R]:
        """What can be read of a hash, of its keys and texts in turns."""
        pairs = zip(found[::2], found[1::2], strict=True)
        # The key that is empty is the guard's.
        return {key: read for key, text in pairs if key and (read := self._read(kind, key, text)) is not None}

    # -- all of it, and what is missing ---------------------------------------------------------------------

    async def everything(self) -> Everything:
        """All tokens, names and marks that are there, whether or not Redis went back."""
        keys = [_TOKENS[0], _RESERVATIONS[0]]
        tokens, names, found = await self.guard.run_anyway(_EVERYTHING, keys)
        marks = {member: int(version) for member, version in zip(found[::2], found[1::2], strict=True)}
        order = marks.pop("", 0)
        return Everything(
            self._read_all(Token, tokens),
            self._read_all(Reservation, names),
            marks,
            order,
        )

    async def merge_token(self, token: Token) -> None:
        """
        Put a token back, unless it was revoked; of two records the one with the higher version counts. If
        another has its name by now, its id is added to the name.
        """
        await self.guard.run_anyway(_MERGE_TOKEN, _TOKENS, _text(token))

    async def merge_name(self, reservation: Reservation) -> None:
        """
        Put a reservation back, unless it was released, or belongs to another token in as high a version. A
        port that is another name's by now is left to it.
        """
        await self.guard.run_anyway(_MERGE_NAME, _RESERVATIONS, _text(reservation))

    async def merge_mark(self, mark: tuple[str, int]) -> None:
        """Put a mark back, and remove what it marks."""
        await self.guard.run_anyway(_MERGE_MARK, [*_RESERVATIONS, *_TOKENS], mark[0], str(mark[1]))

    async def merge_note(self, note: tuple[str, str, str]) -> None:
        """Put a lasting note back, if there is none."""
        space, key, text = note
        await self.guard.run_anyway(_SWAP_NOTE, [_space(space)], key, "", "=" + text, "")

    async def index(self) -> None:
        """Make the hashes anew by which records are found, where they lack something."""
        await self.guard.run_anyway(_INDEX, [*_RESERVATIONS, *_TOKENS])

    async def find_token(self, token_id: str) -> tuple[Token | None, bool]:
        """A token, and whether it was revoked."""
        text, mark = await self._look(_TOKEN_OF, _TOKENS, token_id)
        return self._read(Token, token_id, text) if token_id and text else None, mark != ""

    async def find_name(self, name: str) -> tuple[Reservation | None, int]:
        """
        The reservation of a name, and the version in which it was last released, or -1.

        @raise Unreadable: there is one, and nobody can tell whose.
        """
        text, mark = await self._look(_NAME_OF, _RESERVATIONS, name)
        known = self._read(Reservation, name, text) if name and text else None
        if known is None and name and text:
            raise Unreadable(f"the record of the name {name!r} cannot be read")
        return known, int(mark or -1)

    # -- tokens ---------------------------------------------------------------------------------------------

    @returns_deferred
    async def add_token(self, token: Token) -> None:
        """See L{IStore}."""
        if not int(await self._run(_ADD_TOKEN, _TOKENS, token.id, token.name, _text(token))):
            raise Taken(f"there is a token named {token.name!r} already")

    @returns_deferred
    async def token(self, token_id: str) -> Token | None:
        """See L{IStore}."""
        token, _ = await self.find_token(token_id)
        return token

    @returns_deferred
    async def tokens(self) -> list[Token]:
        """See L{IStore}."""
        found = self._read_all(Token, await self._look(_ALL, _TOKENS[:1]))
        return sorted(found.values(), key=lambda token: token.name)

    @returns_deferred
    async def revoke_token(self, name: str) -> bool:
        """See L{IStore}."""
        return bool(int(await self._run(_REVOKE, _TOKENS, name)))

    @returns_deferred
    async def token_used(self, token_id: str, when: float) -> None:
        """See L{IStore}."""
        await self._run(_USED, _TOKENS, token_id, repr(when), repr(TOKEN_USED_STEP))

    @returns_deferred
    async def find_tokens(self, ids: Iterable[str]) -> dict[str, Token]:
        """See L{IStore}."""
        found = await self._several(_TOKENS[0], list(ids))
        read = {key: self._read(Token, key, text) for key, text in found.items() if text}
        return {key: token for key, token in read.items() if token is not None}

    async def _several(self, key: str, fields: list[str]) -> dict[str, Any]:
        """Some fields of a hash, L{_AT_ONCE} with one question."""
        found: dict[str, Any] = {}
        for start in range(0, len(fields), _AT_ONCE):
            some = fields[start : start + _AT_ONCE]
            found.update(zip(some, await self._look(_SEVERAL, [key], *some), strict=True))
        return found

    @returns_deferred
    async def change_token(self, name: str, changes: dict[str, Any]) -> Token | None:
        """See L{IStore}."""
        texts = {
            field: value.hex() if isinstance(value, bytes) else value for field, value in changes.items()
        }
        found = await self._run(_CHANGE_TOKEN, _TOKENS, name, json.dumps(texts))
        return self._read(Token, *found) if found else None

    @returns_deferred
    async def reserve(self, reservation: Reservation, limits: Limits = UNLIMITED) -> Reservation:
        """See L{IStore}."""
        most = ["" if limit is None else str(limit) for limit in (limits.names, limits.ports)]
        answer = await self._run(_RESERVE, _RESERVATIONS, _text(reservation), *most, repr(USED_STEP))
        if answer == "name":
            raise Taken(f"the name {reservation.name!r} belongs to another token")
        if answer == "port":
            raise Taken(f"port {reservation.port} belongs to another name")
        if answer in ("names", "ports"):
            raise OverQuota(answer, getattr(limits, answer))
        return record(Reservation, json.loads(answer))

    @returns_deferred
    async def reservation(self, name: str) -> Reservation | None:
        """See L{IStore}."""
        known, _ = await self.find_name(name)
        return known

    @returns_deferred
    async def find_reservations(self, names: Iterable[str]) -> dict[str, Reservation | None]:
        """See L{IStore}."""
        found = await self._several(_RESERVATIONS[0], list(names))
        read = {name: self._read(Reservation, name, text) if text else None for name, text in found.items()}
        return {name: known for name, known in read.items() if known is not None or not found[name]}

    @returns_deferred
    async def remembered(self, token_id: str, agent: str, kind: str, upstream: str) -> Reservation | None:
        """See L{IStore}."""
        keys = [_RESERVATIONS[0], _RESERVATIONS[2]]
        found = await self._look(_REMEMBERED, keys, token_id, agent, kind, upstream)
        return self._read(Reservation, *found) if found and found[1] else None

    @returns_deferred
    async def reservations(self) -> list[Reservation]:
        """See L{IStore}."""
        found = self._read_all(Reservation, await self._look(_ALL, _RESERVATIONS[:1]))
        return sorted(found.values(), key=lambda known: known.name)

    @returns_deferred
    async def free_ports(self, ports: Iterable[int]) -> list[int]:
        """See L{IStore}."""
        wanted = list(ports)
        owners = await self._several(_RESERVATIONS[1], [str(port) for port in wanted])
        return [port for port in wanted if not owners[str(port)]]

    @returns_deferred
    async def release(self, name: str) -> bool:
        """See L{IStore}."""
        return bool(int(await self._run(_RELEASE, _RESERVATIONS, name)))

    @returns_deferred
    async def transfer(self, name: str, token_id: str) -> Reservation | None:
        """See L{IStore}."""
        text = await self._run(_TRANSFER, _RESERVATIONS, name, token_id)
        return self._read(Reservation, name, text) if text else None

    @returns_deferred
    async def names_used(self, names: Iterable[str], when: float) -> None:
        """See L{IStore}."""
        used = list(names)
        for start in range(0, len(used), _AT_ONCE):
            await self._run(_NAMES_USED, _RESERVATIONS, repr(when), *used[start : start + _AT_ONCE])

    @returns_deferred
    async def free_unused(self, before: float, now: float) -> list[str]:
        """See L{IStore}."""
        return sorted(await self._run(_FREE_UNUSED, _RESERVATIONS, repr(before), repr(now)))

    # -- notes --------------------------------------------------------------------------------------------

    @returns_deferred
    async def note(self, space: str, key: str) -> str | None:
        """See L{IStore}."""
        text: str | None = await self._look(_NOTE, [_space(space)], key)
        return text

    @returns_deferred
    async def notes(self, space: str) -> dict[str, str]:
        """See L{IStore}."""
        found = await self._look(_ALL_NOTES, [_space(space)])
        return dict(zip(found[::2], found[1::2], strict=True))

    @returns_deferred
    async def put_note(self, space: str, key: str, text: str, ttl: float | None = None) -> None:
        """See L{IStore}."""
        await self._run(_PUT_NOTE, [_space(space)], key, text, _seconds(ttl), writes=ttl is None)

    @returns_deferred
    async def swap_note(
        self, space: str, key: str, old: str | None, new: str | None, ttl: float | None = None
    ) -> bool:
        """See L{IStore}."""
        # "=" before a text tells an empty one from none.
        texts = ["" if text is None else "=" + text for text in (old, new)]
        arguments = [key, *texts, _seconds(ttl)]
        return bool(int(await self._run(_SWAP_NOTE, [_space(space)], *arguments, writes=ttl is None)))


def _space(space: str) -> str:
    return f"{PREFIX}notes:{space}"


def _seconds(ttl: float | None) -> str:
    return "" if ttl is None else repr(float(ttl))
