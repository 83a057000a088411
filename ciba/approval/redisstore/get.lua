-- KEYS: record

local r = load(KEYS[1])
if not r then return {'absent'} end
return reply('found', r, clock())
