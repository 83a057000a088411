-- KEYS: record, parked body
-- ARGV: Op, presence, keep, the state to come from, the one to go to
--
-- What every request that passes has to do, in one script.

local now = clock()
local r = load(KEYS[1])
if not r then return {'absent'} end
if ARGV[1] ~= '' and r.op == ARGV[1] then return reply('spent', r, now) end
if r.state == ARGV[4] and now < r.ends then
  r.state, r.op, r.ends = ARGV[5], ARGV[1], 0
  mark(KEYS[1], r)
  expire(KEYS[1], now + ARGV[3])
  redis.call('DEL', KEYS[2])
  return reply('spent', r, now)
end
if now < r.ends and now + ARGV[2] > r.present then
  r.present = now + ARGV[2]
  mark(KEYS[1], r)
end
return reply('found', r, now)
