-- KEYS: queue, leases
-- ARGV: approval, pause

redis.call('ZADD', KEYS[1], int(clock() + ARGV[2]), ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
