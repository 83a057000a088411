-- What the scripts on counters share; it is put in front of each of them.
--
-- A counter is a string of four numbers: up to when the budget is used, until
-- when it is blocked, when its strikes are forgotten, and how many these are.
-- Times are in microseconds.

-- load returns a counter, perhaps a new one.
local function load(key)
  local text = redis.call('GET', key)
  if not text then return {used = 0, blocked = 0, forgiving = 0, strikes = 0} end
  local used, blocked, forgiving, strikes = string.match(text, '^(%d+) (%d+) (%d+) (%d+)$')
  if not used then error('a counter is damaged') end
  return {
    used = tonumber(used), blocked = tonumber(blocked),
    forgiving = tonumber(forgiving), strikes = tonumber(strikes),
  }
end

-- save keeps a counter for as long as it means something.
local function save(key, c)
  redis.call('SET', key, table.concat({int(c.used), int(c.blocked), int(c.forgiving), int(c.strikes)}, ' '))
  redis.call('PEXPIREAT', key, int(math.ceil(math.max(c.used, c.forgiving) / 1000)))
end
