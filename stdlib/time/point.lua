-- Points in time. A part of `time`.

local host, vm, durations, locations = ...

local error, setmetatable, type = error, setmetatable, type
local math_type, tointeger = math.type, math.tointeger

local SECOND = 1000000000 -- nanoseconds
local FIRST, LAST = -62167219200, 253402300799 -- seconds of the years 0 to 9999
local YEAR_1 = -62135596800 -- what `is_zero` tells, as in Go
local MAX_SECONDS = 9223372036 -- that as nanoseconds are an integer

local nanoseconds_of, zone_of = durations.nanoseconds_of, locations.zone_of

--- A point in time, from the year 0 to 9999, and the location whose clocks show it. It never
--- changes. `==` and `<` compare the points, whatever their locations.
---@class time.Time
local Time = {}

local metatable = vm.read_only("time.Time", Time)
-- time -> {second, nanosecond, location, parts}, out of scripts' reach
local facts = setmetatable({}, { __mode = "k" })

local invalid = vm.invalid

-- `second` and `nanosecond` are integers; what the latter has over a second is carried.
local function new(second, nanosecond, location)
  second = second + nanosecond // SECOND
  if second < FIRST or second > LAST then
    return invalid("the time is outside of the years 0 to 9999")
  end
  local time = vm.protect(setmetatable({}, metatable))
  facts[time] = { second = second, nanosecond = nanosecond % SECOND, location = location }
  return time
end

-- A level over the usual 3 is for those who call this from deeper than a method.
local function facts_of(self, level)
  return facts[self] or error("not a time.Time: call its methods with ':'", level or 3)
end

local function other(time)
  return facts[time] or error("the argument must be a time.Time, not a " .. type(time), 3)
end

-- Returns what the location's clocks show, asked for once: the time never changes.
local function parts_of(self)
  local known = facts_of(self, 4)
  local parts = known.parts
  if not parts then
    parts = {}
    parts.year, parts.month, parts.day, parts.hour, parts.minute, parts.second, parts.weekday, parts.year_day =
      host.parts(known.second, zone_of(known.location))
    known.parts = parts
  end
  return parts
end

-- Returns a number that is whole as an integer, and nil for anything else.
local function whole(value)
  return type(value) == "number" and (math_type(value) == "integer" and value or tointeger(value)) or nil
end

---------------------------------------------------------------------------------------------------

--- Returns the time that is a duration later, or earlier when it is negative.
---
--- Example:
--- ```lua
--- local later = time.now():add("1h30m")
--- ```
---@param duration time.Span
---@return time.Time? time
---@return Error? err INVALID: no duration, or a time out of range
function Time:add(duration)
  local known = facts_of(self)
  local nanoseconds, err = nanoseconds_of(duration)
  if not nanoseconds then
    return nil, err
  end
  local second = known.second + nanoseconds // SECOND
  return new(second, known.nanosecond + nanoseconds % SECOND, known.location)
end

--- Returns how much later it is than another time; more than 292 years are cut off.
---
--- Example:
--- ```lua
--- local started = time.now()
--- assert(time.now():sub(started):seconds() < 60)
--- ```
---@param time time.Time
---@return time.Duration
function Time:sub(time)
  local left, right = facts_of(self), other(time)
  local seconds = left.second - right.second
  if seconds >= MAX_SECONDS then
    return durations.new(math.maxinteger)
  elseif seconds <= -MAX_SECONDS then
    return durations.new(math.mininteger)
  end
  return durations.new(seconds * SECOND + left.nanosecond - right.nanosecond)
end

--- Returns the time whose date is so much later; a day that its month has not carries over.
---
--- Example:
--- ```lua
--- local day = time.date(2026, 1, 31, 0, 0, 0, 0):add_date(0, 1, 0)
--- assert(day:format(time.DATE_ONLY) == "2026-03-03")
--- ```
---@param years integer
---@param months integer
---@param days integer
---@return time.Time? time
---@return Error? err INVALID: no integers, or a time out of range
function Time:add_date(years, months, days)
  local known, parts = facts_of(self), parts_of(self)
  years, months, days = whole(years), whole(months), whole(days)
  if not (years and months and days) then
    return invalid("years, months and days must be integers")
  end
  local second, err = host.date(
    parts.year + years, parts.month + months, parts.day + days,
    parts.hour, parts.minute, parts.second, zone_of(known.location)
  )
  if not second then
    return nil, err
  end
  return new(second, known.nanosecond, known.location)
end

local function is_same(left, right)
  return left.second == right.second and left.nanosecond == right.nanosecond
end

local function is_before(left, right)
  return left.second < right.second or left.second == right.second and left.nanosecond < right.nanosecond
end

--- Tells whether it is later than another time.
---
--- Example:
--- ```lua
--- assert(time.unix(2, 0):after(time.unix(1, 0)))
--- ```
---@param time time.Time
---@return boolean
function Time:after(time)
  return is_before(other(time), facts_of(self))
end

--- Tells whether it is earlier than another time.
---
--- Example:
--- ```lua
--- assert(time.unix(1, 0):before(time.unix(2, 0)))
--- ```
---@param time time.Time
---@return boolean
function Time:before(time)
  return is_before(facts_of(self), other(time))
end

--- Tells whether it is the same point in time, whatever the locations.
---
--- Example:
--- ```lua
--- local now = time.now()
--- assert(now:equal(now:in_local()))
--- ```
---@param time time.Time
---@return boolean
function Time:equal(time)
  return is_same(facts_of(self), other(time))
end

function metatable.__eq(left, right)
  return facts[left] ~= nil and facts[right] ~= nil and is_same(facts[left], facts[right])
end

function metatable.__lt(left, right)
  return is_before(other(left), other(right))
end

function metatable.__le(left, right)
  return not is_before(other(right), other(left))
end

local function rounded(self, duration, nearest)
  local known = facts_of(self, 4)
  local unit, err = nanoseconds_of(duration)
  if not unit then
    return nil, err
  elseif unit <= 0 then
    return self
  end
  local second, nanosecond = host.round(known.second, known.nanosecond, unit, nearest)
  if not second then
    return nil, nanosecond
  end
  return new(second, nanosecond, known.location)
end

--- Returns the nearest multiple of a duration since the year 1 in UTC; halves go up.
---
--- Example:
--- ```lua
--- assert(time.unix(89, 0):round("1m"):unix() == 60)
--- ```
---@param duration time.Span of 0 or less: the time itself
---@return time.Time? time
---@return Error? err INVALID: no duration
function Time:round(duration)
  local time, err = rounded(self, duration, true)
  return time, err
end

--- Returns the last multiple of a duration since the year 1 in UTC.
---
--- Example:
--- ```lua
--- assert(time.unix(119, 0):truncate("1m"):unix() == 60)
--- ```
---@param duration time.Span of 0 or less: the time itself
---@return time.Time? time
---@return Error? err INVALID: no duration
function Time:truncate(duration)
  local time, err = rounded(self, duration, false)
  return time, err
end

---------------------------------------------------------------------------------------------------
-- Text and numbers

--- Returns it as text; the layout is how it shows Monday, January 2, 15:04:05 of 2006, MST.
---
--- Example:
--- ```lua
--- assert(time.unix(0, 0):format("Jan 2, 2006 at 3:04pm") == "Jan 1, 1970 at 12:00am")
--- ```
---@param layout string at most 256 bytes
---@return string? text
---@return Error? err INVALID: no layout
function Time:format(layout)
  local known = facts_of(self)
  if type(layout) ~= "string" then
    return invalid("layout must be text such as time.RFC3339, not a " .. type(layout))
  end
  return host.format(layout, known.second, known.nanosecond, zone_of(known.location))
end

local RFC3339 = "2006-01-02T15:04:05Z07:00"

--- Returns RFC 3339 text, to the second: "2026-11-24T22:00:00Z".
---
--- Example:
--- ```lua
--- local headers = {published_at = time.now():format_rfc3339()}
--- ```
---@return string
function Time:format_rfc3339()
  local known = facts_of(self)
  return host.format(RFC3339, known.second, known.nanosecond, zone_of(known.location))
end

function metatable.__tostring(self)
  return Time.format(self, "2006-01-02 15:04:05.999999999 -0700 MST")
end

--- Returns whole seconds since 1970.
---
--- Example:
--- ```lua
--- local day = time.now():unix() // 86400
--- ```
---@return integer
function Time:unix()
  return facts_of(self).second
end

--- Returns nanoseconds since 1970; they fit an integer from 1678 to 2262.
---
--- Example:
--- ```lua
--- local milliseconds = time.now():unix_nano() // time.MILLISECOND
--- ```
---@return integer
function Time:unix_nano()
  local known = facts_of(self)
  return known.second * SECOND + known.nanosecond
end

--- Tells whether it is the first moment of the year 1 in UTC, Go's zero time.
---
--- Example:
--- ```lua
--- assert(time.date(1, 1, 1, 0, 0, 0, 0):is_zero())
--- ```
---@return boolean
function Time:is_zero()
  local known = facts_of(self)
  return known.second == YEAR_1 and known.nanosecond == 0
end

---------------------------------------------------------------------------------------------------
-- What calendars and clocks show

--- Returns the year, the month and the day.
---
--- Example:
--- ```lua
--- local year, month, day = time.unix(0, 0):date()
--- assert(year == 1970 and month == time.JANUARY and day == 1)
--- ```
---@return integer year
---@return integer month
---@return integer day
function Time:date()
  local parts = parts_of(self)
  return parts.year, parts.month, parts.day
end

--- Returns the hour, the minute and the second.
---
--- Example:
--- ```lua
--- local hour, minute, second = time.unix(3661, 0):clock()
--- assert(hour == 1 and minute == 1 and second == 1)
--- ```
---@return integer hour
---@return integer minute
---@return integer second
function Time:clock()
  local parts = parts_of(self)
  return parts.hour, parts.minute, parts.second
end

--- Returns the year.
---
--- Example:
--- ```lua
--- assert(time.unix(0, 0):year() == 1970)
--- ```
---@return integer
function Time:year()
  return parts_of(self).year
end

--- Returns the month, 1 to 12.
---
--- Example:
--- ```lua
--- assert(time.unix(0, 0):month() == time.JANUARY)
--- ```
---@return integer
function Time:month()
  return parts_of(self).month
end

--- Returns the day of the month, 1 to 31.
---
--- Example:
--- ```lua
--- assert(time.unix(0, 0):day() == 1)
--- ```
---@return integer
function Time:day()
  return parts_of(self).day
end

--- Returns the hour, 0 to 23.
---
--- Example:
--- ```lua
--- assert(time.unix(3600, 0):hour() == 1)
--- ```
---@return integer
function Time:hour()
  return parts_of(self).hour
end

--- Returns the minute, 0 to 59.
---
--- Example:
--- ```lua
--- assert(time.unix(60, 0):minute() == 1)
--- ```
---@return integer
function Time:minute()
  return parts_of(self).minute
end

--- Returns the second, 0 to 59.
---
--- Example:
--- ```lua
--- assert(time.unix(61, 0):second() == 1)
--- ```
---@return integer
function Time:second()
  return parts_of(self).second
end

--- Returns the nanosecond within its second.
---
--- Example:
--- ```lua
--- assert(time.unix(0, 5):nanosecond() == 5)
--- ```
---@return integer
function Time:nanosecond()
  return facts_of(self).nanosecond
end

--- Returns the day of the week, Sunday 0 to Saturday 6.
---
--- Example:
--- ```lua
--- assert(time.unix(0, 0):weekday() == time.THURSDAY)
--- ```
---@return integer
function Time:weekday()
  return parts_of(self).weekday
end

--- Returns the day of the year, 1 to 366.
---
--- Example:
--- ```lua
--- assert(time.unix(0, 0):year_day() == 1)
--- ```
---@return integer
function Time:year_day()
  return parts_of(self).year_day
end

--- Returns the same point in time as a location's clocks show it.
---
--- Example:
--- ```lua
--- local paris = time.load_location("Europe/Paris")
--- assert(time.unix(0, 0):in_location(paris):hour() == 1)
--- ```
---@param location time.Location
---@return time.Time? time
---@return Error? err INVALID: no location
function Time:in_location(location)
  local known = facts_of(self)
  if not zone_of(location) then
    return invalid("location must be a time.Location, not a " .. type(location))
  end
  return new(known.second, known.nanosecond, location)
end

--- Returns the same point in time as the host's own clock shows it.
---
--- Example:
--- ```lua
--- local hour = time.now():in_local():hour()
--- ```
---@return time.Time
function Time:in_local()
  local known = facts_of(self)
  return new(known.second, known.nanosecond, locations.localtz)
end

--- Returns the same point in time as clocks in UTC show it.
---
--- Example:
--- ```lua
--- assert(time.now():in_local():utc():location() == time.utc)
--- ```
---@return time.Time
function Time:utc()
  local known = facts_of(self)
  return new(known.second, known.nanosecond, locations.utc)
end

--- Returns the location.
---
--- Example:
--- ```lua
--- assert(time.now():location() == time.utc)
--- ```
---@return time.Location
function Time:location()
  return facts_of(self).location
end

return { new = new, whole = whole }
