-- KEYS: counter
-- ARGV: burst, pause between two
--
-- Answers with 0, or how many microseconds it is until there is one again.

local now = clock()
local c = load(KEYS[1])
-- The generic cell rate algorithm: used is the time up to which the budget is.
local used = math.max(c.used, now)
local wait = math.max(used - now - (ARGV[1] - 1) * ARGV[2], c.blocked - now)
if wait > 0 then return wait end
c.used = used + ARGV[2]
save(KEYS[1], c)
return 0
