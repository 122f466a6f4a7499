"""
Everything that a Redis has, read in one step, and merged with what a server knows after a loss.

Of two records of one token or name the one with the higher version counts; what has a mark is not put back.
"""

from __future__ import annotations

import attr

from burrow.store.base import Reservation, Token
from burrow.store.redis.guard import Guard
from burrow.store.redis.note_scripts import SWAP_NOTE
from burrow.store.redis.records import RESERVATION_KEYS, TOKEN_KEYS, RecordReader, note_key, to_text
from burrow.store.redis.reservation_scripts import RESERVATION_FUNCTIONS

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
changed('tokens', mine['id'])
return 1
"""

_MERGE_NAME = (
    RESERVATION_FUNCTIONS
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
    RESERVATION_FUNCTIONS
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
        changed('tokens', name)
    end
end
"""
)

_INDEX = (
    RESERVATION_FUNCTIONS
    + """
for _, set in ipairs({'owned', 'owned-ports'}) do
    redis.call('DEL', key(set))
    redis.call('ZADD', key(set), 0, '')
end
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


class Contents:
    """
    The records of a Redis, whether or not it went back: the guard is not asked.

    @param guard: runs the scripts. @param records: reads the records.
    """

    def __init__(self, guard: Guard, records: RecordReader) -> None:
        self._run = guard.run_anyway
        self._records = records

    async def everything(self) -> Everything:
        """All tokens, names and marks that are there, whether or not Redis went back."""
        keys = [TOKEN_KEYS[0], RESERVATION_KEYS[0]]
        tokens, names, found = await self._run(_EVERYTHING, keys)
        marks = {member: int(version) for member, version in zip(found[::2], found[1::2], strict=True)}
        order = marks.pop("", 0)
        return Everything(
            self._records.read_all(Token, tokens),
            self._records.read_all(Reservation, names),
            marks,
            order,
        )

    async def merge_token(self, token: Token) -> None:
        """
        Put a token back, unless it was revoked; of two records the one with the higher version counts. If
        another has its name by now, its id is added to the name.
        """
        await self._run(_MERGE_TOKEN, TOKEN_KEYS, to_text(token))

    async def merge_name(self, reservation: Reservation) -> None:
        """
        Put a reservation back, unless it was released, or belongs to another token in as high a version. A
        port that is another name's by now is left to it.
        """
        await self._run(_MERGE_NAME, RESERVATION_KEYS, to_text(reservation))

    async def merge_mark(self, mark: tuple[str, int]) -> None:
        """Put a mark back, and remove what it marks."""
        await self._run(_MERGE_MARK, [*RESERVATION_KEYS, *TOKEN_KEYS], mark[0], str(mark[1]))

    async def merge_note(self, note: tuple[str, str, str]) -> None:
        """Put a lasting note back, if there is none."""
        space, key, text = note
        await self._run(SWAP_NOTE, [note_key(space)], key, "", "=" + text, "")

    async def index(self) -> None:
        """Make anew what records are found and counted by, where that lacks something."""
        await self._run(_INDEX, [*RESERVATION_KEYS, *TOKEN_KEYS])
