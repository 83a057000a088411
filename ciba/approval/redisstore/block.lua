-- KEYS: counter
-- ARGV: first pause, longest pause, memory

local now = clock()
local c = load(KEYS[1])
if now >= c.forgiving then c.strikes = 0 end
local pause, longest = tonumber(ARGV[1]), tonumber(ARGV[2])
for _ = 1, c.strikes do
  if pause >= longest then break end
  pause = 2 * pause
end
c.strikes = c.strikes + 1
c.blocked = now + math.min(pause, longest)
c.forgiving = c.blocked + ARGV[3]
save(KEYS[1], c)
return 1
