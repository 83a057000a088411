-- KEYS: record, parked body
-- ARGV: ID

local r = load(KEYS[1])
if not r or r.id ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[2])
