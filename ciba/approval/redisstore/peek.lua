-- KEYS: queue
-- ARGV: limit
--
-- Answers with how long it is until the next approval is due, or -1, and then
-- when those are due that are due already, at most limit of them. Times are in
-- microseconds.

local now = clock()
local answer = {-1}
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', int(now), 'WITHSCORES', 'LIMIT', 0, ARGV[1])
for i = 2, #due, 2 do
  answer[#answer + 1] = tonumber(due[i])
end
local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if next[2] then answer[1] = math.max(0, tonumber(next[2]) - now) end
return answer
