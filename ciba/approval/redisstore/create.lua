-- KEYS: record, parked body
-- ARGV: ID, ID to replace, first state, session tag, plan, lasts, keep

local now = clock()
local old = load(KEYS[1])
if old then
  if old.id == ARGV[1] then return reply('created', old, now) end
  if now < old.ends or old.id ~= ARGV[2] then return reply('found', old, now) end
end

local new = {
  id = ARGV[1], state = ARGV[3], reason = '', session = ARGV[4], interval = '0',
  ends = now + ARGV[6], op = '', plan = ARGV[5], outcome = '',
}
-- Written first and all of it: a full Redis refuses the first write of a script
-- only. What was parked for an old record goes.
save(KEYS, new, new.ends + ARGV[7])
redis.call('DEL', KEYS[2])
return reply('created', new, now)
