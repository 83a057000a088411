-- What the scripts on records share; it is put in front of each of them.
--
-- A record is a hash: i = ID, t = session tag and slot, v = interval in
-- nanoseconds, n = Op of the last change, p = plan, o = outcome, and s = what
-- changes often, in one field since fields are what takes memory: the
-- microsecond at which a live state ends (0 in ended states), the one until
-- which somebody waits, the state, and the reason, with single spaces between
-- them. All fields are always there.

-- load returns the record under a key, or nil.
local function load(key)
  local f = redis.call('HMGET', key, 'i', 't', 'v', 'n', 'p', 'o', 's')
  local found = 0
  for i = 1, 7 do
    if f[i] then found = found + 1 end
  end
  if found == 0 then return nil end
  local ends, present, state, reason = string.match(f[7] or '', '^(%d+) (%d+) (%l+) (.*)$')
  if found < 7 or not ends then error('a record is damaged') end
  return {
    id = f[1], tags = f[2], interval = f[3], op = f[4], plan = f[5], outcome = f[6],
    ends = tonumber(ends), present = tonumber(present), state = state, reason = reason,
  }
end

-- mark writes of a record what changes often, and the Op.
local function mark(key, r)
  redis.call('HSET', key, 'n', r.op, 's', table.concat({int(r.ends), int(r.present), r.state, r.reason}, ' '))
end

-- save writes a whole record.
local function save(key, r)
  redis.call('HSET', key, 'i', r.id, 't', r.tags, 'v', r.interval, 'p', r.plan, 'o', r.outcome)
  mark(key, r)
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

-- reply is what a script answers: a word, how much longer the state lasts and
-- somebody waits, and the record.
local function reply(word, r, now)
  local left = 0
  if r.ends ~= 0 then left = r.ends - now end
  return {word, left, r.present - now, r.id, r.state, r.reason, r.tags, r.interval, r.plan, r.outcome}
end
