-- KEYS: record, parked body
-- ARGV: presence, Op, the state to come from, the one to go to,
--       channel of the news
--
-- What every request that passes has to do, in one script. So where it succeeds
-- it reads, writes and answers no more than it must, and the record goes when
-- it would have gone unspent. Otherwise record.lua and touch.lua follow.

local f = redis.call('HMGET', KEYS[1], 'i', 'o', 'n', 's')
local id, outcome, op = f[1], f[2], f[3]
local ends, present, state, reason = marks(f[4])
if id and outcome and op and ends then
  if ARGV[2] ~= '' and op == ARGV[2] then return {'spent', id, outcome} end
  if state == ARGV[3] and clock() < tonumber(ends) then
    mark(KEYS[1], {op = ARGV[2], ends = 0, present = tonumber(present), state = ARGV[4], reason = reason})
    redis.call('DEL', KEYS[2])
    redis.call('PUBLISH', ARGV[5], id .. ' ' .. ARGV[2])
    return {'spent', id, outcome}
  end
end
