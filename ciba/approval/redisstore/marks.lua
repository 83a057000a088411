-- The form of a record, and what of it changes often.
--
-- A record is a hash: i = ID, t = session tag and slot, v = interval in
-- nanoseconds, n = Op of the last change, p = plan, o = outcome, and s = what
-- changes often, in one field since fields are what takes memory: the
-- microsecond at which a live state ends (0 in ended states), the one until
-- which somebody waits, the state, and the reason, with single spaces between
-- them. All fields are always there.

-- marks reads the field s: ends, present, state and reason, as strings; nothing
-- where it is damaged.
local function marks(s)
  return string.match(s or '', '^(%d+) (%d+) (%l+) (.*)$')
end

-- mark writes of a record what changes often, and the Op.
local function mark(key, r)
  redis.call('HSET', key, 'n', r.op, 's', table.concat({int(r.ends), int(r.present), r.state, r.reason}, ' '))
end
