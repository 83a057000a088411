-- KEYS: record, parked body
-- ARGV: ID, Op, reason, plan, outcome, interval, lasts, keep, channel of the
--       news, the state to go to, 1 if that one is live, the states to come from
--
-- Which states these are is the caller's knowledge: the one table of
-- transitions is in package approval. A live state that has outlasted its time
-- has ended, and nothing leads out of that.

local now = clock()
local r = load(KEYS[1])
if not r or r.id ~= ARGV[1] then return {'absent'} end
if ARGV[2] ~= '' and r.op == ARGV[2] then return reply('found', r, now) end

local allowed = false
for i = 12, #ARGV do
  if ARGV[i] == r.state and now < r.ends then allowed = true end
end
if not allowed then return reply('refused', r, now) end

r.state, r.reason, r.op = ARGV[10], ARGV[3], ARGV[2]
if ARGV[4] ~= '' then r.plan = ARGV[4] end
if ARGV[5] ~= '' then r.outcome = ARGV[5] end
if ARGV[6] ~= '0' then r.interval = ARGV[6] end
if ARGV[11] ~= '1' then
  r.ends = 0
elseif ARGV[7] ~= '0' then
  r.ends = now + ARGV[7]
end
save(KEYS, r, math.max(now, r.ends) + ARGV[8])
redis.call('PUBLISH', ARGV[9], r.id)
return reply('found', r, now)
