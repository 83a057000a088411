-- KEYS: queue
-- ARGV: limit
--
-- Answers with how long it is until the next approval is due, or -1, and then
-- when those are due that are due already, at most limit of them. Times are in
-- microseconds.

local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not next[2] then return {-1} end
local now = clock()
local answer = {math.max(0, tonumber(next[2]) - now)}
if answer[1] > 0 then return answer end
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', int(now), 'WITHSCORES', 'LIMIT', 0, ARGV[1])
for i = 2, #due, 2 do
  answer[#answer + 1] = tonumber(due[i])
end
return answer
