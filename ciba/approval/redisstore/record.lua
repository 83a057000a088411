-- What the scripts on records share; it is put in front of each of them.
--
-- A record is a hash: i = ID, t = session tag, v = interval in nanoseconds,
-- n = Op of the last change, p = plan, o = outcome, and s = what every change
-- writes, in one field since fields are what takes memory: the microsecond at
-- which a live state ends (0 in ended states), the state, and the reason, with
-- single spaces between them. All fields are always there.

-- load returns the record under a key, or nil.
local function load(key)
  local f = redis.call('HMGET', key, 'i', 't', 'v', 'n', 'p', 'o', 's')
  local found = 0
  for i = 1, 7 do
    if f[i] then found = found + 1 end
  end
  if found == 0 then return nil end
  local ends, state, reason = string.match(f[7] or '', '^(%d+) (%l+) (.*)$')
  if found < 7 or not ends then error('a record is damaged') end
  return {
    id = f[1], session = f[2], interval = f[3], op = f[4], plan = f[5], outcome = f[6],
    ends = tonumber(ends), state = state, reason = reason,
  }
end

-- save writes a record, and lets it and its parked body go at a given
-- microsecond, rounded up to what Redis counts in.
local function save(keys, r, gone)
  redis.call('HSET', keys[1], 'i', r.id, 't', r.session, 'v', r.interval, 'n', r.op,
    'p', r.plan, 'o', r.outcome, 's', int(r.ends) .. ' ' .. r.state .. ' ' .. r.reason)
  for _, key in ipairs(keys) do
    redis.call('PEXPIREAT', key, int(math.ceil(gone / 1000)))
  end
end

-- reply is what a script answers: a word, how much longer the state lasts,
-- and the record.
local function reply(word, r, now)
  local left = 0
  if r.ends ~= 0 then left = r.ends - now end
  return {word, left, r.id, r.state, r.reason, r.session, r.interval, r.plan, r.outcome}
end
