-- MessagePack, from bytes to values.

local work = ...

local next, type = next, type
local byte, sub, unpack = string.byte, string.sub, string.unpack
local math_type = math.type
local null, empty_kinds, EMPTY_OBJECT = work.null, work.empty_kinds, work.EMPTY_OBJECT
local MAX_DEPTH, TOO_DEEP, malformed = work.MAX_DEPTH, work.TOO_DEEP, work.malformed
local charge, open_text = work.charge, work.open_text

local due = 0 -- the position in the input where the next charge is due

local function truncated(text)
  return malformed("MessagePack ends too early", #text + 1)
end

local function unpack_string(text, at, size)
  local stop = at + size
  if stop > #text + 1 then
    return truncated(text)
  end
  return sub(text, at, stop - 1), stop
end

local unpack_value

local function unpack_array(text, at, size, depth)
  if depth >= MAX_DEPTH then
    return malformed(TOO_DEEP, at)
  end
  local array = { nil, nil, nil, nil }
  for index = 1, size do
    array[index], at = unpack_value(text, at, depth + 1)
    if not at then
      return array[index]
    elseif at > due then
      due = charge(at)
    end
  end
  return array, at
end

local function unpack_key(text, at, depth)
  local code = byte(text, at)
  if code and code >= 0xA0 and code < 0xC0 then -- nearly every key
    return unpack_string(text, at + 1, code - 0xA0)
  end
  local key, stop = unpack_value(text, at, depth + 1)
  if stop and type(key) ~= "string" and math_type(key) ~= "integer" then
    return malformed("a map key must be a string or an integer of 64 bits", at)
  end
  return key, stop
end

local function unpack_map(text, at, size, depth)
  if depth >= MAX_DEPTH then
    return malformed(TOO_DEEP, at)
  end
  local map = { a = nil, b = nil, c = nil, d = nil }
  for _ = 1, size do
    local key, value
    key, at = unpack_key(text, at, depth)
    if not at then
      return key
    end
    value, at = unpack_value(text, at, depth + 1)
    if not at then
      return value
    elseif value == null then
      value = nil
    end
    map[key] = value
    if at > due then
      due = charge(at)
    end
  end
  if next(map) == nil then
    empty_kinds[map] = EMPTY_OBJECT
  end
  return map, at
end

-- Readers by type byte: (text, position after it, depth of parent) -> value, next | failure, nil.
local readers = {}

local function constant(value)
  return function(_, at)
    return value, at
  end
end
readers[0xC0], readers[0xC2], readers[0xC3] = constant(null), constant(false), constant(true)

local function number(layout, size)
  return function(text, at)
    if at + size > #text + 1 then
      return truncated(text)
    end
    return unpack(layout, text, at)
  end
end
for offset, bits in next, { [0] = 1, 2, 4 } do
  readers[0xCC + offset] = number(">I" .. bits, bits)
  readers[0xD0 + offset] = number(">i" .. bits, bits)
end
readers[0xCA], readers[0xCB] = number(">f", 4), number(">d", 8)
readers[0xD3] = number(">i8", 8)

local signed = readers[0xD3]
readers[0xCF] = function(text, at)
  local value, stop = signed(text, at)
  if stop and value < 0 then
    value = (value >> 1 | value & 1) * 2.0 -- beyond 63 bits: a float, rounded once
  end
  return value, stop
end

-- A string, array or map whose size is a number of its own.
local function sized(read, bits)
  local size_of = number(">I" .. bits, bits)
  return function(text, at, depth)
    local size, start = size_of(text, at)
    if not start then
      return size
    end
    return read(text, start, size, depth)
  end
end
for offset, bits in next, { [0] = 1, 2, 4 } do
  readers[0xC4 + offset] = sized(unpack_string, bits)
  readers[0xD9 + offset] = sized(unpack_string, bits)
end
for offset, bits in next, { [0] = 2, 4 } do
  readers[0xDC + offset] = sized(unpack_array, bits)
  readers[0xDE + offset] = sized(unpack_map, bits)
end

function unpack_value(text, at, depth)
  local code = byte(text, at)
  if not code then
    return truncated(text)
  elseif code < 0x80 then
    return code, at + 1
  elseif code >= 0xE0 then
    return code - 0x100, at + 1
  elseif code < 0x90 then
    return unpack_map(text, at + 1, code - 0x80, depth)
  elseif code < 0xA0 then
    return unpack_array(text, at + 1, code - 0x90, depth)
  elseif code < 0xC0 then
    return unpack_string(text, at + 1, code - 0xA0)
  end
  local reader = readers[code]
  if not reader then
    return malformed("extension types are not supported", at)
  end
  return reader(text, at + 1, depth)
end

-- Decodes MessagePack. Returns `nil, message, kind` where it cannot; the kind is "invalid" where
-- there are no bytes at all, else "internal". A nil decodes to nil, in an array to `null`. What is
-- marked as str need not be UTF-8.
return function(text)
  local problem, kind
  due, problem, kind = open_text(text, "MessagePack")
  if not due then
    return nil, problem, kind
  end
  local value, stop = unpack_value(text, 1, 0)
  if stop and stop <= #text then
    value, stop = malformed("bytes go on after the value", stop), nil
  end
  charge(stop or value.at)
  if not stop then
    return nil, value.message .. " at byte " .. value.at, "internal"
  elseif value == null then
    return nil
  end
  return value
end
