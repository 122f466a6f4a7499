"""
The log of changes in Redis, and what is asked of it: see L{burrow.store.changes}.

One sorted set, C{burrow:changes}: "SPACE newline KEY" by the count at which it changed last, C{+} by the
count of all changes, and the empty member by the count up to which changes are forgotten. The count begins at
the time of Redis, in microseconds, so that a log that was lost and begins again has none of the counts of the
old one. A version is the guard's epoch and the count.
"""

from burrow.store.changes import MAX_LOGGED

_FORGET_AT_ONCE = 1000

LOG_FUNCTIONS = f"""
local news = false
local function begin_log()
    local log = key('changes')
    if redis.call('ZSCORE', log, '') and redis.call('ZSCORE', log, '+') then return log end
    local time = redis.call('TIME')
    local count = string.format('%d%06d', time[1], time[2])
    redis.call('DEL', log)
    redis.call('ZADD', log, count, '', count, '+')
    return log
end
local function changed(space, name)
    local log = begin_log()
    local count = redis.call('ZINCRBY', log, 1, '+')
    redis.call('ZADD', log, count, space .. '\\n' .. name)
    if redis.call('ZCARD', log) > {MAX_LOGGED + _FORGET_AT_ONCE} then
        local last = redis.call('ZRANGE', log, {_FORGET_AT_ONCE}, {_FORGET_AT_ONCE}, 'WITHSCORES')[2]
        redis.call('ZREMRANGEBYRANK', log, 1, {_FORGET_AT_ONCE})
        redis.call('ZADD', log, last, '')
    end
    if space ~= 'nodes' then news = true end  -- those are renewed all the time
end
"""

CHANGES = """
-- ARGV: count or empty; space, key, text and ttl of a note to keep, or four times empty; spaces.
local since = ARGV[1]
local renewed = 0
if ARGV[2] ~= '' then
    local hash = key('notes:' .. ARGV[2])
    if read(redis.call('HGET', hash, ARGV[3])) then renewed = 1 end
    write(hash, ARGV[3], ARGV[4], ARGV[5])
end
local log = begin_log()
local first, last = redis.call('ZSCORE', log, ''), redis.call('ZSCORE', log, '+')
local whole = since == '' or tonumber(since) < tonumber(first) or tonumber(since) > tonumber(last)
local wanted, found, records = {}, {}, {}  -- flat: nested arrays are slow to read
local function add(list, ...)
    for _, one in ipairs({...}) do list[#list + 1] = one end
end
for i = 6, #ARGV do wanted[ARGV[i]] = true end
if whole then
    for space in pairs(wanted) do
        local all = redis.call('HGETALL', key('notes:' .. space))
        for i = 1, #all, 2 do
            local text = all[i] ~= '' and read(all[i + 1])
            if text then add(found, space, all[i], text) end
        end
    end
else
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', log, '(' .. since, '+inf')) do
        local newline = string.find(member, '\\n', 1, true)
        local space = newline and string.sub(member, 1, newline - 1)
        local name = newline and string.sub(member, newline + 1)
        if wanted[space] then
            add(found, space, name, read(redis.call('HGET', key('notes:' .. space), name)))
        elseif space == 'tokens' or space == 'reservations' then
            add(records, space, name)
        end
    end
end
return {string.format('%d', last), whole and 1 or 0, renewed, found, records}
"""
