-- KEYS: record, parked body, slot
-- ARGV: ID, Op, reason, plan, outcome, interval, lasts, keep, channel of the
--       news, key of the record in base64url, the state to go to, 1 if that one
--       is live, 1 if the person is still asked in it, the state of one that is
--       good, the states to come from
--
-- Which states these are is the caller's knowledge: the one table of
-- transitions is in package approval. A live state that has outlasted its time
-- has ended, and nothing leads out of that.

local now = clock()
local r = load(KEYS[1])
if not r or r.id ~= ARGV[1] then return {'absent'} end
if ARGV[2] ~= '' and r.op == ARGV[2] then return reply('found', r, now) end

local allowed = false
for i = 15, #ARGV do
  if ARGV[i] == r.state and now < r.ends then allowed = true end
end
if not allowed then return reply('refused', r, now) end

local good = r.state == ARGV[14]
r.state, r.reason, r.op = ARGV[11], ARGV[3], ARGV[2]
if ARGV[4] ~= '' then r.plan = ARGV[4] end
if ARGV[5] ~= '' then r.outcome = ARGV[5] end
if ARGV[6] ~= '0' then r.interval = ARGV[6] end
if ARGV[12] ~= '1' then
  r.ends = 0
elseif ARGV[7] ~= '0' then
  r.ends = now + ARGV[7]
end
save(KEYS[1], r)
local gone = math.max(now, r.ends) + ARGV[8]
expire(KEYS[1], gone)
expire(KEYS[2], gone)

-- Only this record's own slot: a caller may be wrong about which that is.
local id, key = holder(KEYS[3])
if id == r.id and key == ARGV[10] then
  if ARGV[13] == '1' then
    hold(KEYS[3], r, key)
  else
    redis.call('DEL', KEYS[3])
  end
end
local news = r.id
if good then news = news .. ' ' .. r.op end
redis.call('PUBLISH', ARGV[9], news)
return reply('found', r, now)
