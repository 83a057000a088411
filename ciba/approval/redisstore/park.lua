-- KEYS: record, parked body
-- ARGV: ID, body

local r = load(KEYS[1])
if not r or r.id ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', int(math.max(1, redis.call('PTTL', KEYS[1]))))
return 1
