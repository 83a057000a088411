-- KEYS: record
-- ARGV: presence
--
-- It is also how Spend ends where it spends nothing.

local r = load(KEYS[1])
if not r then return {'absent'} end
local now = clock()
if now < r.ends and now + ARGV[1] > r.present then
  r.present = now + ARGV[1]
  saveMarks(KEYS[1], r)
end
return reply('found', r, now)
