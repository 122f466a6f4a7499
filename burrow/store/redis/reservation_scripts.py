"""Lua scripts that read and write reservations. KEYS: L{burrow.store.redis.records.RESERVATION_KEYS}."""

RESERVATION_FUNCTIONS = """
local function given(value) return value ~= nil and value ~= cjson.null end
local function key_of(known)
    return cjson.encode({known['token'], known['agent'], known['kind'], known['upstream']})
end
local function owner_of(known) return tostring(known['token']) .. ':' .. known['name'] end
local function owned(set, token)
    return tonumber(redis.call('ZLEXCOUNT', key(set), '[' .. token .. ':', '(' .. token .. ';'))
end
local function forget(known)
    redis.call('ZREM', key('owned'), owner_of(known))
    redis.call('ZREM', key('owned-ports'), owner_of(known))
    if given(known['port']) then redis.call('HDEL', KEYS[2], known['port']) end
    local key = key_of(known)
    if redis.call('HGET', KEYS[3], key) == known['name'] then redis.call('HDEL', KEYS[3], key) end
end
local function remove(known)
    mark('name:' .. known['name'], known['version'] or 0)
    redis.call('HDEL', KEYS[1], known['name'])
    forget(known)
    changed('reservations', known['name'])
end
local function keep(known)
    redis.call('ZADD', key('owned'), 0, owner_of(known))
    if given(known['port']) then
        redis.call('ZADD', key('owned-ports'), 0, owner_of(known))
        redis.call('HSET', KEYS[2], known['port'], known['name'])
    end
    if known['assigned'] then redis.call('HSET', KEYS[3], key_of(known), known['name']) end
    local kept = cjson.encode(known)
    redis.call('HSET', KEYS[1], known['name'], kept)
    changed('reservations', known['name'])
    return kept
end
"""

RESERVE = (
    RESERVATION_FUNCTIONS
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
if more_names and owned('owned', wanted['token']) >= tonumber(ARGV[2]) then return 'names' end
if more_ports and owned('owned-ports', wanted['token']) >= tonumber(ARGV[3]) then return 'ports' end
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

REMEMBERED = """
local name = redis.call('HGET', KEYS[2], cjson.encode({ARGV[1], ARGV[2], ARGV[3], ARGV[4]}))
if not name then return false end
return {name, redis.call('HGET', KEYS[1], name) or ''}
"""

RELEASE = (
    RESERVATION_FUNCTIONS
    + """
local known = redis.call('HGET', KEYS[1], ARGV[1])
if not known or ARGV[1] == '' then return 0 end
known = decoded(known, ARGV[1])
if ARGV[2] ~= '' and not (known and known['token'] == ARGV[2]) then return 0 end
if known then
    remove(known)
else
    redis.call('HDEL', KEYS[1], ARGV[1])
    changed('reservations', ARGV[1])
end
return 1
"""
)

TRANSFER = (
    RESERVATION_FUNCTIONS
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

NAMES_USED = """
for i = 2, #ARGV do
    local known = decoded(redis.call('HGET', KEYS[1], ARGV[i]), ARGV[i])
    if known then
        known['used'] = tonumber(ARGV[1])
        redis.call('HSET', KEYS[1], ARGV[i], cjson.encode(known))
    end
end
"""

FREE_UNUSED = (
    RESERVATION_FUNCTIONS
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

FIND_NAME = """
return {redis.call('HGET', KEYS[1], ARGV[1]) or '', tostring(marked('name:' .. ARGV[1]) or '')}
"""
