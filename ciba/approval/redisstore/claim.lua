-- KEYS: queue, leases
-- ARGV: limit, at most 1000; lease
--
-- Answers with how long it is, after this, until the next approval is due, or
-- -1, and then three things for each lease: the approval, its token, and when
-- it was due. Times are in microseconds.

local now = clock()
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', int(now), 'WITHSCORES', 'LIMIT', 0, ARGV[1])
local answer = {-1}
if #due > 0 then
  -- Tokens rise even over a loss of the hash, because time does.
  local token = math.max(now, 1 + (tonumber(redis.call('HGET', KEYS[2], '')) or 0))
  local lapse = int(now + ARGV[2])
  local tokens, lapses = {}, {}
  for i = 1, #due, 2 do
    tokens[i], tokens[i + 1] = due[i], int(token)
    lapses[i], lapses[i + 1] = lapse, due[i]
    answer[#answer + 1] = due[i]
    answer[#answer + 1] = token
    answer[#answer + 1] = tonumber(due[i + 1])
    token = token + 1
  end
  redis.call('HSET', KEYS[2], '', int(token - 1), unpack(tokens))
  redis.call('ZADD', KEYS[1], unpack(lapses))
end
local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if next[2] then answer[1] = math.max(0, tonumber(next[2]) - now) end
return answer
