-- KEYS: counter
-- ARGV: times without a pause, first pause, longest pause, memory

local now = clock()
local c = load(KEYS[1])
if now >= c.forgiving then c.strikes = 0 end
c.strikes = c.strikes + 1
local blocked = now
if c.strikes > tonumber(ARGV[1]) then
  local pause, longest = tonumber(ARGV[2]), tonumber(ARGV[3])
  for _ = 2, c.strikes - ARGV[1] do
    if pause >= longest then break end
    pause = 2 * pause
  end
  blocked = now + math.min(pause, longest)
end
c.blocked = math.max(c.blocked, blocked)
c.forgiving = c.blocked + ARGV[4]
save(KEYS[1], c)
return 1
