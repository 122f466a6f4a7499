"""
Finds out whether a Redis went back: whether it lacks what it had, as after FLUSHALL, a start with an older
snapshot or none, a failover to a replica that lagged behind, or the eviction of a key.

Keys, all under C{burrow:}::

    epoch         text   a random word, which a server that sees a loss replaces, so that all see it; it ends
                         in "-older" where something was left, which may be older than what was lost
    generations   hash   server -> how often it polled or wrote, and when last, in seconds since the epoch
    marks         hash   "token:ID", "name:NAME" -> version of what was revoked or released; "" -> how many
    mark-order    zset   the same in the order in which they were made; over L{MAX_MARKS} the oldest go

    owned         zset   "TOKEN:NAME" of each reservation; C{owned-ports} of those with a port: to count them

and those of L{burrow.store.redis.change_log}.

Each server advances its own generation with each write, and once a second. If it is lower than the last
answer said, Redis went back. Every hash and set that must last has a field or member with an empty name: if
it is missing, the hash or set was evicted. Both are checked in the same script as the question. After a new
connection the guard asks which process answers: another one may lack what was written last.

What is missing and has no mark was lost; what has a mark was revoked or released, and never comes back.
"""

from __future__ import annotations

import secrets
from typing import Any

from txredisapi import ResponseError

from burrow.errors import StoreError
from burrow.store.redis.change_log import LOG_FUNCTIONS
from burrow.store.redis.connection import RedisConnection
from burrow.store.spaces import LASTING

MAX_MARKS = 100_000
"""Marks that are kept; the oldest are forgotten then."""

FORGET_AFTER = 86_400
"""Seconds after which the generation of a server that is gone is removed."""

PREFIX = "burrow:"

_HASHES = ", ".join(
    f"'{name}'"
    for name in (
        *("tokens", "token-names", "reservations", "ports", "remembered", "marks"),
        *(f"notes:{space}" for space in LASTING),
    )
)

_PRELUDE = f"""
local function key(name) return '{PREFIX}' .. name end
local hashes = {{{_HASHES}}}
local sets = {{'mark-order', 'owned', 'owned-ports'}}
-- The record that key has, or nil if it is none: somebody else may have written it.
local function decoded(text, key)
    local good, found = pcall(cjson.decode, text or '')
    if not good or type(found) ~= 'table' or type(found['name']) ~= 'string' then return nil end
    for _, field in ipairs({{'version', 'port', 'used', 'last_used'}}) do
        local value = found[field]
        if value ~= nil and value ~= cjson.null and type(value) ~= 'number' then return nil end
    end
    if found['version'] == cjson.null then return nil end
    if key and (found['id'] or found['name']) ~= key then return nil end
    return found
end
{LOG_FUNCTIONS}
local function marked(member)
    local version = redis.call('HGET', key('marks'), member)
    return version and tonumber(version)
end
local function mark(member, version)
    local known = marked(member)
    if known and known >= version then return end
    local order = redis.call('HINCRBY', key('marks'), '', 1)
    redis.call('HSET', key('marks'), member, version)
    redis.call('ZADD', key('mark-order'), order, member)
    while redis.call('ZCARD', key('mark-order')) > {MAX_MARKS} + 1 do
        local oldest = redis.call('ZRANGE', key('mark-order'), 1, 1)[1]
        redis.call('ZREM', key('mark-order'), oldest)
        redis.call('HDEL', key('marks'), oldest)
    end
end
local function generation(server)
    local known = redis.call('HGET', key('generations'), server)
    return tonumber(string.match(known or '', '^%d+') or '-1')
end
local function advance(server, at_least)
    local count = math.max(generation(server), at_least) + 1
    local seconds = redis.call('TIME')[1]
    redis.call('HSET', key('generations'), server, string.format('%d %s', count, seconds))
    return count
end
local function intact(epoch, server, count)
    if redis.call('GET', key('epoch')) ~= epoch then return false end
    for _, name in ipairs(hashes) do
        if redis.call('HEXISTS', key(name), '') == 0 then return false end
    end
    for _, name in ipairs(sets) do
        if not redis.call('ZSCORE', key(name), '') then return false end
    end
    return generation(server) >= count
end
"""

_GUARDED = """
local epoch, server = table.remove(ARGV, 1), table.remove(ARGV, 1)
local count, writes = tonumber(table.remove(ARGV, 1)), table.remove(ARGV, 1)
if not intact(epoch, server, count) then return {-1} end
local function work()
%s
end
local result = work()
if writes == '1' then count = advance(server, count) end
if news then redis.pcall('PUBLISH', key('changed'), server) end  -- it may not be allowed (ACL)
return {count, result}
"""

_SETTLE = """
local lacking = redis.call('HLEN', key('reservations')) ~= redis.call('ZCARD', key('owned'))
for _, name in ipairs(hashes) do
    local none = string.sub(name, 1, 6) == 'notes:' and '\\n' or ''
    redis.call('HSETNX', key(name), '', name == 'marks' and '0' or none)
end
for _, name in ipairs(sets) do redis.call('ZADD', key(name), 0, '') end
local epoch = redis.call('GET', key('epoch'))
if not epoch or (epoch == ARGV[2] and ARGV[4] == '1') then
    epoch = ARGV[3] .. (epoch and '-older' or '')
    redis.call('SET', key('epoch'), epoch)
end
local now = tonumber(redis.call('TIME')[1])
local all = redis.call('HGETALL', key('generations'))
for i = 1, #all, 2 do
    local seconds = tonumber(string.match(all[i + 1], '%d+$') or '0')
    if seconds < now - tonumber(ARGV[6]) then redis.call('HDEL', key('generations'), all[i]) end
end
return {advance(ARGV[1], tonumber(ARGV[5])), epoch, lacking and 1 or 0}
"""

_LOOK = """
local after = table.remove(ARGV, 1)
local order = redis.call('HGET', key('marks'), '')
local found = {order}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', key('mark-order'), '(' .. after, '+inf')) do
    found[#found + 1] = member
    found[#found + 1] = tostring(marked(member) or 0)
end
local function more()
%s
end
return {found, more()}
"""


class WentBack(StoreError):
    """Redis lacks what it had: a name that is not in it may have an owner."""

    def __init__(self) -> None:
        super().__init__("Redis lost what was in it; the servers that know what was there write it again")


class Guard:
    """
    One server's questions to one Redis, each answered by a Redis that has what it had, or not at all.

    @ivar server: this server's id among those that use the Redis.
    @ivar epoch: the word that tells all servers whether something was lost; empty before L{settle}.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self.epoch = ""
        self._connection = connection
        self.server = secrets.token_hex(6)
        self._generation = 0
        self._order = 0
        self._process = ""
        self._met = -1
        self._doubted = False

    @property
    def older(self) -> bool:
        """Whether the records in Redis may be older than what was lost."""
        return self.epoch.endswith("-older")

    async def run(self, script: str, keys: list[str], *arguments: str, writes: bool = True) -> Any:
        """
        Run a script, unless Redis went back.

        @param writes: whether it writes what must last, so that it is noticed if Redis loses it.
        @raise WentBack: nothing was done; call L{settle} once Redis is mended.
        """
        await self._meet()
        if self._doubted or not self.epoch:
            raise WentBack
        state = [self.epoch, self.server, str(self._generation), "1" if writes else "0"]
        answer = await self._eval(_GUARDED % script, keys, *state, *arguments)
        if int(answer[0]) < 0:
            raise WentBack
        self._generation = max(self._generation, int(answer[0]))
        return answer[1] if len(answer) > 1 else None

    async def run_anyway(self, script: str, keys: list[str], *arguments: str) -> Any:
        """Run a script though Redis may have gone back: to mend it."""
        return await self._eval(script, keys, *arguments)

    async def _eval(self, script: str, keys: list[str], *arguments: str) -> Any:
        return await self._connection.ask("eval", _PRELUDE + script, keys, list(arguments))

    async def _meet(self) -> None:
        """After a new connection, ask whether it leads to the same process."""
        made = self._connection.made
        if made == self._met:
            return
        process = (await self._info("server")).get("run_id", "")
        if self._process and process != self._process:
            self._doubted = True
        self._process, self._met = process, made

    def doubt(self) -> None:
        """Something is missing that was not removed: Redis went back, until L{settle}."""
        self._doubted = True

    async def went_back(self) -> bool:
        """Whether it did since the last L{settle}. @raise StoreError: Redis does not answer."""
        try:
            await self.run("return 1", [], writes=False)
        except WentBack:
            return True
        return False

    async def settle(self) -> bool:
        """
        Take what is in Redis now for all there is. If this server is the first that saw a loss, it replaces
        the epoch, by which the other servers see it.

        @return: whether the sets that count names lack some: an older release wrote them.
        """
        await self._meet()
        state = [self.epoch, secrets.token_hex(8), "1" if self.epoch else "0"]
        state += [str(self._generation), str(FORGET_AFTER)]
        answer = await self.run_anyway(_SETTLE, [], self.server, *state)
        self._generation, self.epoch = int(answer[0]), answer[1]
        self._doubted = False
        return bool(int(answer[2]))

    async def new_marks(self, script: str = "return 0", *arguments: str) -> tuple[dict[str, int], Any]:
        """
        Advance our generation.

        @param script: is run in the same step, with C{arguments}.
        @return: the marks made since the last call, with their versions, and what the script answers.
        """
        (order, *found), answer = await self.run(_LOOK % script, [], str(self._order), *arguments)
        self._order = int(order)
        marks = {member: int(version) for member, version in zip(found[::2], found[1::2], strict=True)}
        return marks, answer

    def marks_known(self, order: int) -> None:
        """The first C{order} marks are known: L{new_marks} need not tell them."""
        self._order = order

    async def policy(self) -> str:
        """What Redis does when its memory is full; empty if it does not say."""
        return (await self._info("memory")).get("maxmemory_policy", "")

    async def _info(self, section: str) -> dict[str, str]:
        """A section of INFO; empty where an ACL forbids us to ask."""
        try:
            found: dict[str, str] = await self._connection.ask("info", section)
        except StoreError as error:
            if isinstance(error.__cause__, ResponseError):
                return {}
            raise
        return found
