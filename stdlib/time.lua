--- Time: wait, once or again and again, ask what time it is, count with times and durations, read and write them.
---
--- A number is nanoseconds, in this module alone: `5 * time.SECOND`. A string is a duration such as
--- "100ms" or "1h30m", everywhere. Where a duration is wanted, a `time.Duration` does as well;
--- other modules take `tostring` of it.
---
--- Layouts are Go's: how a text shows Monday, January 2, 15:04:05 of 2006, MST (7 hours west).

local host, vm = ...

local type = type

-- Most handlers only sleep.
local durations = vm.later(function()
  return vm.part("time/duration", host, vm)
end)
local locations = vm.part("time/location", vm)
local points = vm.later(function()
  return vm.part("time/point", host, vm, durations, locations)
end)
local function point_of(nanoseconds)
  return points.new(0, nanoseconds, locations.utc)
end
local calendar = vm.later(function()
  return vm.part("time/calendar", host, vm, points, locations)
end)
local timers = vm.later(function()
  return vm.part("time/timer", host, vm, durations, point_of)
end)

---@class time
---@field utc time.Location
---@field localtz time.Location the host's own
local M = {
  NANOSECOND = 1,
  MICROSECOND = 1000,
  MILLISECOND = 1000000,
  SECOND = 1000000000,
  MINUTE = 60000000000,
  HOUR = 3600000000000,

  RFC822 = "02 Jan 06 15:04 MST",
  RFC822Z = "02 Jan 06 15:04 -0700",
  RFC850 = "Monday, 02-Jan-06 15:04:05 MST",
  RFC1123 = "Mon, 02 Jan 2006 15:04:05 MST",
  RFC1123Z = "Mon, 02 Jan 2006 15:04:05 -0700",
  RFC3339 = "2006-01-02T15:04:05Z07:00",
  RFC3339NANO = "2006-01-02T15:04:05.999999999Z07:00",
  KITCHEN = "3:04PM",
  STAMP = "Jan _2 15:04:05",
  STAMP_MILLI = "Jan _2 15:04:05.000",
  STAMP_MICRO = "Jan _2 15:04:05.000000",
  STAMP_NANO = "Jan _2 15:04:05.000000000",
  DATE_TIME = "2006-01-02 15:04:05",
  DATE_ONLY = "2006-01-02",
  TIME_ONLY = "15:04:05",

  JANUARY = 1,
  FEBRUARY = 2,
  MARCH = 3,
  APRIL = 4,
  MAY = 5,
  JUNE = 6,
  JULY = 7,
  AUGUST = 8,
  SEPTEMBER = 9,
  OCTOBER = 10,
  NOVEMBER = 11,
  DECEMBER = 12,

  SUNDAY = 0,
  MONDAY = 1,
  TUESDAY = 2,
  WEDNESDAY = 3,
  THURSDAY = 4,
  FRIDAY = 5,
  SATURDAY = 6,

  utc = locations.utc,
  localtz = locations.localtz,
}

--- What may stand for a duration: nanoseconds, text such as "250ms" with the units ns, us, ms, s, m
--- and h ("0" needs none), or a Duration.
---@alias time.Span number|string|time.Duration

---------------------------------------------------------------------------------------------------
-- Durations

--- Waits; other handlers run meanwhile.
---
--- A call whose time runs out while it sleeps ends there. INVALID: a negative duration, one over a
--- year, Inf, NaN, and what is no duration.
---
--- Example:
--- ```lua
--- time.sleep("1ms")
--- time.sleep(2 * time.MILLISECOND)
--- ```
---@param duration time.Span
---@return true? ok
---@return Error? err
function M.sleep(duration)
  if type(duration) == "number" or type(duration) == "string" then
    return host.sleep(duration)
  end
  local nanoseconds, err = durations.nanoseconds_of(duration)
  if not nanoseconds then
    return nil, err
  end
  return host.sleep(nanoseconds)
end

--- Returns a channel through which one event comes, after this duration.
---
--- Example:
--- ```lua
--- time.after("1ms"):receive()
--- ```
---@param duration time.Span
---@return time.Channel? channel
---@return Error? err INVALID, as of `sleep`
function M.after(duration)
  return timers.after(duration)
end

--- Returns a timer: one event after this duration, which can be stopped and put off.
---
--- Example:
--- ```lua
--- local timer = time.timer("1ms")
--- timer:reset("2ms")
--- assert(timer:channel():receive())
--- ```
---@param duration time.Span
---@return time.Timer? timer
---@return Error? err INVALID, as of `sleep`
function M.timer(duration)
  return timers.timer(duration)
end

--- Returns a ticker: an event each time that this duration has passed.
---
--- Who receives late gets one of the events that have come meanwhile; the next one comes when it
--- would have come anyway.
---
--- Example:
--- ```lua
--- local ticker = time.ticker("1ms")
--- for i = 1, 3 do
---   ticker:channel():receive()
--- end
--- ticker:stop()
--- ```
---@param duration time.Span over 0
---@return time.Ticker? ticker
---@return Error? err INVALID, as of `sleep`
function M.ticker(duration)
  return timers.ticker(duration)
end

--- Returns the duration that a text means, to the nanosecond.
---
--- INVALID: one over 292 years, and what is no duration.
---
--- Example:
--- ```lua
--- local duration = time.parse_duration("1m30s")
--- assert(duration:seconds() == 90 and duration < 2 * time.MINUTE)
--- assert(tostring(duration) == "1m30s")
--- ```
---@param text time.Span nanoseconds and Durations as well
---@return time.Duration? duration
---@return Error? err
function M.parse_duration(text)
  local nanoseconds, err = durations.nanoseconds_of(text)
  if not nanoseconds then
    return nil, err
  end
  return durations.new(nanoseconds)
end

---------------------------------------------------------------------------------------------------
-- Locations

--- Returns the location of a name: "UTC", "Local", or one of the system's tz database.
---
--- Example:
--- ```lua
--- local paris, err = time.load_location("Europe/Paris")
--- assert(paris and tostring(paris) == "Europe/Paris")
--- ```
---@param name string
---@return time.Location? location
---@return Error? err INVALID: no name; NOT_FOUND: no such location
function M.load_location(name)
  return calendar.load_location(name)
end

--- Returns a location that is always so many seconds east of UTC, less than a day.
---
--- Example:
--- ```lua
--- local zone = time.fixed_zone("EST", -5 * 3600)
--- assert(time.unix(0, 0):in_location(zone):format(time.RFC822) == "31 Dec 69 19:00 EST")
--- ```
---@param name string
---@param offset integer
---@return time.Location? location
---@return Error? err INVALID
function M.fixed_zone(name, offset)
  return calendar.fixed_zone(name, offset)
end

---------------------------------------------------------------------------------------------------
-- Points in time

--- Returns the time it is, in UTC.
---
--- Example:
--- ```lua
--- local started = time.now():unix_nano()
--- ```
---@return time.Time
function M.now()
  local now = point_of(host.now())
  return now
end

--- Returns the time of so many seconds and nanoseconds since 1970, in UTC.
---
--- Example:
--- ```lua
--- assert(time.unix(1, 500000000):unix_nano() == 1500 * time.MILLISECOND)
--- ```
---@param seconds integer
---@param nanoseconds? integer (default: 0)
---@return time.Time? time
---@return Error? err INVALID: no integers, or a time out of range
function M.unix(seconds, nanoseconds)
  return calendar.unix(seconds, nanoseconds)
end

--- Returns the time at which clocks show this. What is out of range carries: October 32 is
--- November 1. Where clocks show it twice or never, it is right by one of the two offsets.
---
--- Example:
--- ```lua
--- local noon = time.date(2026, time.NOVEMBER, 24, 12, 0, 0, 0, time.load_location("Europe/Paris"))
--- assert(noon:utc():hour() == 11)
--- ```
---@param year integer
---@param month integer
---@param day integer
---@param hour? integer (default: 0, as for the others)
---@param minute? integer
---@param second? integer
---@param nanosecond? integer
---@param location? time.Location (default: UTC)
---@return time.Time? time
---@return Error? err INVALID: no integers, no location, or a time out of range
function M.date(year, month, day, hour, minute, second, nanosecond, location)
  return calendar.date(year, month, day, hour, minute, second, nanosecond, location)
end

--- Returns the time that a text means. What the layout leaves out is zero, or one: the year 0.
---
--- Example:
--- ```lua
--- local at = time.parse(time.RFC3339, "2026-11-24T22:00:00.5+01:00")
--- assert(at:utc():hour() == 21 and at:nanosecond() == 500000000)
--- ```
---@param layout string at most 256 bytes, as the text
---@param text string
---@param location? time.Location of a text that has no offset (default: UTC)
---@return time.Time? time
---@return Error? err INVALID: a text that is not of this layout, or no text
function M.parse(layout, text, location)
  return calendar.parse(layout, text, location)
end

return M
