-- What all scripts share; it is put in front of each of them.

-- clock is the store's time in microseconds. A double holds that exactly.
local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end

-- int writes a number out in full; Lua itself would round it to 14 digits.
local function int(n)
  return string.format('%.0f', n)
end
