--- Time: wait, ask what time it is, and read durations.
---
--- A number is nanoseconds, in this module alone: `5 * time.SECOND`. A string is a duration such as
--- "100ms" or "1h30m", everywhere.

local host, vm = ...

local date, error, setmetatable, type = os.date, error, setmetatable, type

---@class time
local M = {
  NANOSECOND = 1,
  MICROSECOND = 1000,
  MILLISECOND = 1000000,
  SECOND = 1000000000,
  MINUTE = 60000000000,
  HOUR = 3600000000000,
}

--- A duration: nanoseconds, or text such as "250ms" with the units ns, us, ms, s, m and h
--- ("0" needs none).
---@alias time.Duration number|string

local function invalid(message)
  return nil, vm.error(message, "Invalid", false)
end

--- Waits; other handlers run meanwhile.
---
--- A call whose time runs out while it sleeps ends there. INVALID: a negative duration, one over a
--- year, Inf, NaN, and what is no duration.
---
--- Example:
--- ```lua
--- time.sleep("100ms")
--- time.sleep(2 * time.SECOND)
--- ```
---@param duration time.Duration
---@return true? ok
---@return Error? err
function M.sleep(duration)
  if type(duration) ~= "number" and type(duration) ~= "string" then
    return invalid('duration must be text such as "100ms", or nanoseconds, not a ' .. type(duration))
  end
  return host.sleep(duration)
end

--- Returns the nanoseconds of a duration's text.
---
--- INVALID: a negative duration, one over a year, and what is no duration.
---
--- Example:
--- ```lua
--- assert(time.parse_duration("1m30s") == 90 * time.SECOND)
--- ```
---@param text string
---@return integer? nanoseconds
---@return Error? err
function M.parse_duration(text)
  if type(text) ~= "string" then
    return invalid('duration must be text such as "100ms", not a ' .. type(text))
  end
  return host.parse_duration(text)
end

---------------------------------------------------------------------------------------------------
-- Points in time

--- A point in time.
---@class time.Time
local Time = {}

local metatable = {
  __index = Time,
  __name = "time.Time",
  __metatable = false,
  __newindex = function()
    error("time.Time is read-only", 2)
  end,
}
local nanoseconds = setmetatable({}, { __mode = "k" }) -- time -> since 1970, out of scripts' reach

local function since_epoch(self)
  return nanoseconds[self] or error("not a time.Time: call its methods with ':'", 3)
end

--- Returns the time it is.
---
--- Example:
--- ```lua
--- local started = time.now():unix_nano()
--- ```
---@return time.Time
function M.now()
  local now = vm.protect(setmetatable({}, metatable))
  nanoseconds[now] = host.now()
  return now
end

--- Returns whole seconds since 1970.
---
--- Example:
--- ```lua
--- local day = time.now():unix() // 86400
--- ```
---@return integer
function Time:unix()
  return since_epoch(self) // M.SECOND
end

--- Returns nanoseconds since 1970.
---
--- Example:
--- ```lua
--- local milliseconds = time.now():unix_nano() // time.MILLISECOND
--- ```
---@return integer
function Time:unix_nano()
  local value = since_epoch(self) -- no tail call: the error's level counts this frame
  return value
end

--- Returns RFC 3339 text in UTC, to the second: "2026-11-24T22:00:00Z".
---
--- Example:
--- ```lua
--- local headers = {published_at = time.now():format_rfc3339()}
--- ```
---@return string
function Time:format_rfc3339()
  return date("!%Y-%m-%dT%H:%M:%SZ", since_epoch(self) // M.SECOND) --[[@as string]]
end

return M
