"""Lua scripts that read and write notes. KEYS: the hash of the space, but for L{NOTE_CHANGES}."""

from burrow.store.redis.change_log import CHANGES

_NOTE_FUNCTIONS = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local function read(raw)
    if not raw then return false end
    local newline = string.find(raw, '\\n', 1, true)
    local ends = tonumber(string.sub(raw, 1, newline - 1))
    if ends and ends <= now then return false end
    return string.sub(raw, newline + 1)
end
local function logged(hash, name)
    changed(string.sub(hash, #key('notes:') + 1), name)
end
local function write(hash, name, text, ttl)
    local ends = ''
    if ttl ~= '' then ends = string.format('%.3f', now + ttl) end
    if read(redis.call('HGET', hash, name)) ~= text then logged(hash, name) end
    redis.call('HSET', hash, name, ends .. '\\n' .. text)
    local index = hash .. ':ends'
    if ends == '' then redis.call('ZREM', index, name) else redis.call('ZADD', index, ends, name) end
    for _, old in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', now, 'LIMIT', 0, 20)) do
        if not read(redis.call('HGET', hash, old)) and redis.call('HDEL', hash, old) == 1 then
            logged(hash, old)
        end
        redis.call('ZREM', index, old)
    end
end
"""

NOTE = (
    _NOTE_FUNCTIONS
    + """
return read(redis.call('HGET', KEYS[1], ARGV[1]))
"""
)

SOME_NOTES = (
    _NOTE_FUNCTIONS
    + """
local found = redis.call('HMGET', KEYS[1], unpack(ARGV))
for i = 1, #ARGV do found[i] = read(found[i]) end
return found
"""
)

NOTES = (
    _NOTE_FUNCTIONS
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
        logged(KEYS[1], all[i])
    end
end
return found
"""
)

PUT_NOTE = (
    _NOTE_FUNCTIONS
    + """
write(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
"""
)

SWAP_NOTE = (
    _NOTE_FUNCTIONS
    + """
local raw = redis.call('HGET', KEYS[1], ARGV[1])
local known = read(raw)
if raw and not known then  -- its time is over
    redis.call('HDEL', KEYS[1], ARGV[1])
    redis.call('ZREM', KEYS[1] .. ':ends', ARGV[1])
    logged(KEYS[1], ARGV[1])
end
if ARGV[2] == '' then
    if known then return 0 end
elseif known ~= string.sub(ARGV[2], 2) then
    return 0
end
if ARGV[3] == '' then
    if redis.call('HDEL', KEYS[1], ARGV[1]) == 1 then logged(KEYS[1], ARGV[1]) end
    redis.call('ZREM', KEYS[1] .. ':ends', ARGV[1])
else
    write(KEYS[1], ARGV[1], string.sub(ARGV[3], 2), ARGV[4])
end
return 1
"""
)

NOTE_CHANGES = _NOTE_FUNCTIONS + CHANGES
