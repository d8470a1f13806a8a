-- Durations: nanoseconds that say so. A part of `time`.

local host, vm = ...

local error, math_type, setmetatable = error, math.type, setmetatable
local format, gsub, tostring, tointeger, type = string.format, string.gsub, tostring, math.tointeger, type

local MICROSECOND, MILLISECOND, SECOND, MINUTE, HOUR = 1000, 1000000, 1000000000, 60000000000, 3600000000000

--- A duration, of at most 292 years either way. It never changes.
---
--- With `+ - * / // %`, `-d` and `<`, other operands are durations and numbers of nanoseconds. `==`
--- is true of equal durations alone, since Lua finds a number equal to numbers only: compare
--- `d:nanoseconds()`.
---@class time.Duration
---@operator add(time.Duration|number): time.Duration
---@operator sub(time.Duration|number): time.Duration
---@operator mul(number): time.Duration
---@operator div(number): time.Duration
---@operator unm: time.Duration
local Duration = {}

local metatable = vm.read_only("time.Duration", Duration)
local values = setmetatable({}, { __mode = "k" }) -- duration -> nanoseconds, out of scripts' reach

local function new(nanoseconds)
  local duration = vm.protect(setmetatable({}, metatable))
  values[duration] = nanoseconds
  return duration
end

-- Cuts off what is less than a nanosecond; nil for what no integer can hold.
local function whole(number)
  if math_type(number) == "integer" then
    return number
  end
  local cut = number >= 0 and number // 1 or -(-number // 1)
  return tointeger(cut)
end

local invalid = vm.invalid

-- Returns the nanoseconds of whatever may stand for a duration, or nil and an INVALID error.
local function nanoseconds_of(value)
  if values[value] then
    return values[value]
  elseif type(value) == "string" then
    return host.parse_duration(value)
  elseif type(value) == "number" then
    local nanoseconds = whole(value)
    if nanoseconds then
      return nanoseconds
    end
    return invalid("duration must be within 292 years, not " .. tostring(value))
  end
  return invalid('duration must be text such as "100ms", nanoseconds or a time.Duration, not a ' .. type(value))
end

---------------------------------------------------------------------------------------------------
-- Methods

local function value_of(self)
  return values[self] or error("not a time.Duration: call its methods with ':'", 3)
end

--- Returns nanoseconds.
---
--- Example:
--- ```lua
--- assert(time.parse_duration("1m30s"):nanoseconds() == 90 * time.SECOND)
--- ```
---@return integer
function Duration:nanoseconds()
  local value = value_of(self) -- no tail call: the error's level counts this frame
  return value
end

-- Whole units, cut off towards zero.
local function count(value, unit)
  if value < 0 then
    return -(-value // unit)
  end
  return value // unit
end

--- Returns whole microseconds.
---
--- Example:
--- ```lua
--- assert(time.parse_duration("2ms"):microseconds() == 2000)
--- ```
---@return integer
function Duration:microseconds()
  return count(value_of(self), MICROSECOND)
end

--- Returns whole milliseconds.
---
--- Example:
--- ```lua
--- assert(time.parse_duration("1.5s"):milliseconds() == 1500)
--- ```
---@return integer
function Duration:milliseconds()
  return count(value_of(self), MILLISECOND)
end

--- Returns seconds, with their fraction.
---
--- Example:
--- ```lua
--- assert(time.parse_duration("1500ms"):seconds() == 1.5)
--- ```
---@return number
function Duration:seconds()
  return value_of(self) / SECOND
end

--- Returns minutes, with their fraction.
---
--- Example:
--- ```lua
--- assert(time.parse_duration("90s"):minutes() == 1.5)
--- ```
---@return number
function Duration:minutes()
  return value_of(self) / MINUTE
end

--- Returns hours, with their fraction.
---
--- Example:
--- ```lua
--- assert(time.parse_duration("1h30m"):hours() == 1.5)
--- ```
---@return number
function Duration:hours()
  return value_of(self) / HOUR
end

---------------------------------------------------------------------------------------------------
-- As text, as Go writes it

-- Writes `value` in a unit that has so many digits below it, without zeros at the end.
local function decimal(value, unit, digits)
  local rest = value % unit
  if rest == 0 then
    return tostring(value // unit)
  end
  local fraction = gsub(format("%0" .. digits .. "d", rest), "0+$", "")
  return value // unit .. "." .. fraction
end

local function text_of(value)
  if value < MICROSECOND then
    return value == 0 and "0s" or value .. "ns"
  elseif value < MILLISECOND then
    return decimal(value, MICROSECOND, 3) .. "µs"
  elseif value < SECOND then
    return decimal(value, MILLISECOND, 6) .. "ms"
  end
  local text = decimal(value % MINUTE, SECOND, 9) .. "s"
  if value < MINUTE then
    return text
  end
  text = value // MINUTE % 60 .. "m" .. text
  return value < HOUR and text or value // HOUR .. "h" .. text
end

function metatable.__tostring(self)
  local value = values[self]
  if value == math.mininteger then
    return "-2562047h47m16.854775808s"
  end
  return value < 0 and "-" .. text_of(-value) or text_of(value)
end

function metatable.__concat(left, right)
  return tostring(left) .. tostring(right)
end

---------------------------------------------------------------------------------------------------
-- Arithmetic

local function operand(value)
  if type(value) == "number" then
    return value
  end
  return values[value] or error("no arithmetic of time.Duration and " .. type(value), 3)
end

local function from(number)
  local value = whole(number)
  if not value then
    error("the duration is longer than 292 years", 3)
  end
  local duration = new(value) -- no tail call: the error's level counts this frame
  return duration
end

function metatable.__add(left, right)
  local duration = from(operand(left) + operand(right))
  return duration
end

function metatable.__sub(left, right)
  local duration = from(operand(left) - operand(right))
  return duration
end

function metatable.__mod(left, right)
  local duration = from(operand(left) % operand(right))
  return duration
end

function metatable.__unm(self)
  return new(-values[self])
end

function metatable.__mul(left, right)
  if values[left] and values[right] then
    error("a time.Duration is multiplied by a number", 2)
  end
  local duration = from(operand(left) * operand(right))
  return duration
end

-- A duration by a duration is how often it fits: a number.
function metatable.__div(left, right)
  local quotient = operand(left) / operand(right)
  if values[right] then
    return quotient
  end
  quotient = from(quotient)
  return quotient
end

function metatable.__idiv(left, right)
  local quotient = operand(left) // operand(right)
  if values[right] then
    return quotient
  end
  quotient = from(quotient)
  return quotient
end

function metatable.__eq(left, right)
  return values[left] == values[right]
end

function metatable.__lt(left, right)
  return operand(left) < operand(right)
end

function metatable.__le(left, right)
  return operand(left) <= operand(right)
end

return { new = new, nanoseconds_of = nanoseconds_of }
