-- KEYS: record, parked body
-- ARGV: presence, Op, the state to come from, the one to go to,
--       channel of the news
--
-- What every one-time request that passes has to do, in one script. So where it
-- succeeds it reads, writes and answers no more than it must, and the record goes
-- when it would have gone unspent. Otherwise record.lua and touch.lua follow.

local f = redis.call('HMGET', KEYS[1], 'i', 'o', 's')
local id, outcome = f[1], f[2]
local ends, present, state, reason, op = readMarks(f[3])
if id and outcome and ends then
  if ARGV[2] ~= '' and op == ARGV[2] then return {'spent', id, outcome} end
  if state == ARGV[3] and clock() < tonumber(ends) then
    writeMarks(KEYS[1], '0', present, ARGV[4], reason, ARGV[2])
    redis.call('DEL', KEYS[2])
    redis.call('PUBLISH', ARGV[5], id .. ' ' .. ARGV[2])
    return {'spent', id, outcome}
  end
end
