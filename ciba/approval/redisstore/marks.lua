-- The form of a record, and what of it changes often.
--
-- A record is a hash: i = ID, t = session tag and slot, v = interval in
-- nanoseconds, p = plan, o = outcome, and s = what changes often, in one field
-- since fields are what takes memory and time: the microsecond at which a live
-- state ends (0 in ended states), the one until which somebody waits, the
-- state, the reason, and the Op of the last change, with single spaces between
-- them. Only the Op may contain spaces. All fields are always there.

-- readMarks takes the field s apart: ends, present, state, reason and Op, as
-- strings; nothing where it is damaged.
local function readMarks(s)
  return string.match(s or '', '^(%d+) (%d+) (%l+) (%S*) (.*)$')
end

-- writeMarks puts it together, from strings: a number needs int.
local function writeMarks(key, ends, present, state, reason, op)
  redis.call('HSET', key, 's', table.concat({ends, present, state, reason, op}, ' '))
end
