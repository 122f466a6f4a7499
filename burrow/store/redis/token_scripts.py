"""Lua scripts that read and write tokens. KEYS: L{burrow.store.redis.records.TOKEN_KEYS}."""

ADD_TOKEN = """
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
changed('tokens', ARGV[1])
return 1
"""

REVOKE_TOKEN = """
local id = redis.call('HGET', KEYS[2], ARGV[1])
if not id or ARGV[1] == '' then return 0 end
mark('token:' .. id, 0)
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[1], id)
changed('tokens', id)
return 1
"""

TOKEN_USED = """
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

CHANGE_TOKEN = """
local id = redis.call('HGET', KEYS[2], ARGV[1])
local token = id and redis.call('HGET', KEYS[1], id)
token = token and decoded(token, id)
if not token then return false end
for field, value in pairs(cjson.decode(ARGV[2])) do token[field] = value end
token['version'] = (token['version'] or 0) + 1
local kept = cjson.encode(token)
redis.call('HSET', KEYS[1], id, kept)
changed('tokens', id)
return {id, kept}
"""

FIND_TOKEN = """
return {redis.call('HGET', KEYS[1], ARGV[1]) or '', tostring(marked('token:' .. ARGV[1]) or '')}
"""
