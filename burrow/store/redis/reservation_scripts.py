"""Lua scripts that read and write reservations. KEYS: L{burrow.store.redis.records.RESERVATION_KEYS}."""

RESERVATION_FUNCTIONS = """
local function given(value) return value ~= nil and value ~= cjson.null end
local function key_of(known)
    return cjson.encode({known['token'], known['agent'], known['kind'], known['upstream']})
end
local function is_wildcard(name) return string.sub(name, 1, 2) == '*.' end
local function twin(name)
    if is_wildcard(name) then return string.sub(name, 3) end
    if not string.find(name, '.', 1, true) then return '*.' .. name end
    return nil
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
-- See with_twin in burrow.store.reserving.
local function with_twin(known)
    local other = twin(known['name'])
    other = other and decoded(redis.call('HGET', KEYS[1], other), other)
    if other and other['token'] == known['token'] then return {known, other} end
    return {known}
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
-- See twin_asked and kept_under in burrow.store.reserving.
local wild = is_wildcard(wanted['name'])
local other = (not known or wild) and twin(wanted['name'])
local parent, parent_before = nil, nil
if other then
    local other_text = redis.call('HGET', KEYS[1], other)
    local there = other_text and decoded(other_text, other)
    if other_text and not (there and there['token'] == wanted['token']) then return 'twin' end
    if wild and not (there and there['asked'] == true) then
        parent, parent_before = there and decoded(other_text, other) or cjson.decode(ARGV[1]), there
        parent['asked'] = true
        if not there then
            parent['name'] = other
            parent['kind'], parent['upstream'] = '', ''
            for _, field in ipairs({'port', 'port_assigned', 'used'}) do parent[field] = cjson.null end
            parent['version'] = (marked('name:' .. other) or -1) + 1
        end
    end
end
local new = (known and 0 or 1) + ((parent and not parent_before) and 1 or 0)
local more_names = new > 0 and ARGV[2] ~= ''
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
if more_names and owned('owned', wanted['token']) + new > tonumber(ARGV[2]) then return 'names' end
if more_ports and owned('owned-ports', wanted['token']) >= tonumber(ARGV[3]) then return 'ports' end
if known then
    local same = not given(known['port']) or redis.call('HGET', KEYS[2], known['port']) == known['name']
    if known['assigned'] then same = same and redis.call('HGET', KEYS[3], key_of(known)) == known['name'] end
    for field, value in pairs(wanted) do same = same and known[field] == value end
    if same and not parent then
        writes = '0'  -- nothing changes: the guard has no generation to advance, either
        return {text}
    end
    forget(known)
end
if parent_before then forget(parent_before) end
local kept = {keep(wanted)}
if parent then kept[2] = keep(parent) end
return kept
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
local text = redis.call('HGET', KEYS[1], ARGV[1])
if not text or ARGV[1] == '' then return {} end
local known = decoded(text, ARGV[1])
if ARGV[2] ~= '' and not (known and known['token'] == ARGV[2]) then return {} end
if not known then
    redis.call('HDEL', KEYS[1], ARGV[1])
    changed('reservations', ARGV[1])
    return {ARGV[1]}
end
local removed = {}
for i, one in ipairs(with_twin(known)) do
    remove(one)
    removed[i] = one['name']
end
return removed
"""
)

RELEASE_UNDER_ANOTHER = (
    RESERVATION_FUNCTIONS
    + """
local known = decoded(redis.call('HGET', KEYS[1], ARGV[1]), ARGV[1])
local label = decoded(redis.call('HGET', KEYS[1], twin(ARGV[1])), twin(ARGV[1]))
if not (known and label) or known['token'] == label['token'] then return 0 end
remove(known)
return 1
"""
)

TRANSFER = (
    RESERVATION_FUNCTIONS
    + """
local known = decoded(redis.call('HGET', KEYS[1], ARGV[1]), ARGV[1])
if not known or (ARGV[3] ~= '' and known['token'] ~= ARGV[3]) then return {} end
local moved = {}
for i, one in ipairs(with_twin(known)) do
    forget(one)
    one['token'] = ARGV[2]
    one['asked'] = true
    one['version'] = (one['version'] or 0) + 1
    moved[i] = keep(one)
end
return moved
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
