-- What the scripts on records share. With marks.lua it is put in front of each of
-- them; in Spend it stands between spend.lua and touch.lua.

-- load returns the record under a key, or nil.
local function load(key)
  local f = redis.call('HMGET', key, 'i', 't', 'v', 'p', 'o', 's')
  local found = 0
  for i = 1, 6 do
    if f[i] then found = found + 1 end
  end
  if found == 0 then return nil end
  local ends, present, state, reason, op = readMarks(f[6])
  if found < 6 or not ends then error('a record is damaged') end
  return {
    id = f[1], tags = f[2], interval = f[3], plan = f[4], outcome = f[5],
    ends = tonumber(ends), present = tonumber(present), state = state, reason = reason, op = op,
  }
end

-- saveMarks writes of a record what changes often.
local function saveMarks(key, r)
  writeMarks(key, int(r.ends), int(r.present), r.state, r.reason, r.op)
end

-- save writes a whole record.
local function save(key, r)
  redis.call('HSET', key, 'i', r.id, 't', r.tags, 'v', r.interval, 'p', r.plan, 'o', r.outcome)
  saveMarks(key, r)
end

-- expire lets a key go at a given microsecond, rounded up to what Redis counts
-- in.
local function expire(key, gone)
  redis.call('PEXPIREAT', key, int(math.ceil(gone / 1000)))
end

-- holder tells who holds a slot: the ID, and the key in base64url; or nil.
local function holder(slot)
  local held = redis.call('GET', slot)
  if not held then return nil end
  local key, id = string.match(held, '^(%S+) (.+)$')
  if not key then error('a slot is damaged') end
  return id, key
end

-- hold gives a slot to a record for as long as its state lasts.
local function hold(slot, r, key)
  redis.call('SET', slot, key .. ' ' .. r.id)
  expire(slot, r.ends)
end

-- reply is what most scripts answer: a word, how much longer the state lasts and
-- somebody waits, and the record.
local function reply(word, r, now)
  local left = 0
  if r.ends ~= 0 then left = r.ends - now end
  return {word, left, r.present - now, r.id, r.state, r.reason, r.tags, r.interval, r.plan, r.outcome}
end
