-- KEYS: record, parked body
-- ARGV: ID

local r = load(KEYS[1])
if r and r.id == ARGV[1] then redis.call('DEL', KEYS[2]) end
return 1
