-- KEYS: queue, leases
-- ARGV: approval, token, pause

if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('ZADD', KEYS[1], int(clock() + ARGV[3]), ARGV[1])
return 1
