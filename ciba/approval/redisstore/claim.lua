-- KEYS: queue, leases
-- ARGV: limit, lease
--
-- Answers with how long it is, after this, until the next approval is due, or
-- -1, and then three things for each lease: the approval, its token, and when
-- it was due. Times are in microseconds.

local now = clock()
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', int(now), 'WITHSCORES', 'LIMIT', 0, ARGV[1])
local answer = {-1}
for i = 1, #due, 2 do
  -- Tokens rise even over a loss of the hash, because time does.
  local token = math.max(now, 1 + (tonumber(redis.call('HGET', KEYS[2], '')) or 0))
  redis.call('HSET', KEYS[2], '', int(token), due[i], int(token))
  redis.call('ZADD', KEYS[1], int(now + ARGV[2]), due[i])
  answer[#answer + 1] = due[i]
  answer[#answer + 1] = token
  answer[#answer + 1] = tonumber(due[i + 1])
end
local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if next[2] then answer[1] = math.max(0, tonumber(next[2]) - now) end
return answer
