-- KEYS: record, parked body, slot
-- ARGV: ID, ID to replace, first state, session tag and slot, plan, lasts,
--       keep, presence, key of the record in base64url, ID of a holder of the
--       slot that is known to have ended

local now = clock()
local old = load(KEYS[1])
if old then
  if old.id == ARGV[1] then return reply('created', old, now) end
  if now < old.ends or old.id ~= ARGV[2] then return reply('found', old, now) end
end
local id, key = holder(KEYS[3])
if id and id ~= ARGV[10] then return {'busy', id, key} end

local new = {
  id = ARGV[1], state = ARGV[3], reason = '', tags = ARGV[4], interval = '0',
  ends = now + ARGV[6], present = now + ARGV[8], op = '', plan = ARGV[5], outcome = '',
}
-- Written first and all of it: a full Redis refuses the first write of a script
-- only. What was parked for an old record goes.
save(KEYS[1], new)
hold(KEYS[3], new, ARGV[9])
expire(KEYS[1], new.ends + ARGV[7])
redis.call('DEL', KEYS[2])
return reply('created', new, now)
