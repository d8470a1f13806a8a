-- MessagePack, from values to bytes; every integer and every head in its smallest form.

local work, output = ...

local next, rawget, setmetatable, type = next, rawget, setmetatable, type
local char, pack = string.char, string.pack
local math_type = math.type
local EMPTY_OBJECT, NULL, UNITS = work.EMPTY_OBJECT, work.NULL, work.UNITS
local empty_kinds, invalid_utf8 = work.empty_kinds, work.invalid_utf8
local CYCLE_DEPTH, unfit, within, begin = output.CYCLE_DEPTH, output.unfit, output.within, output.begin
local flush, finish, enter, shape = output.flush, output.finish, output.enter, output.shape

local units = UNITS -- of work, left until `flush` is due

local bytes = setmetatable({}, { -- one-byte strings by their byte, made as they are needed
  __index = function(known, code)
    local one = char(code)
    known[code] = one
    return one
  end,
})

-- The head of a string, binary, array or map: in the type byte itself up to `fixed_limit` entries.
-- `wide` is the type byte for 16 bits of length, the one for 32 bits follows it.
local function pack_head(size, fixed, fixed_limit, narrow, wide)
  if size < fixed_limit then
    return bytes[fixed + size]
  elseif narrow and size < 0x100 then
    return narrow .. bytes[size]
  elseif size < 0x10000 then
    return pack(">BI2", wide, size)
  end
  return pack(">BI4", wide + 1, size)
end

local function pack_integer(value)
  if value >= 0 then
    if value < 0x80 then
      return bytes[value]
    elseif value < 0x100 then
      return "\xCC" .. bytes[value]
    elseif value < 0x10000 then
      return pack(">BI2", 0xCD, value)
    elseif value < 0x100000000 then
      return pack(">BI4", 0xCE, value)
    end
    return pack(">BI8", 0xCF, value)
  elseif value >= -0x20 then
    return bytes[0x100 + value]
  elseif value >= -0x80 then
    return pack(">Bi1", 0xD0, value)
  elseif value >= -0x8000 then
    return pack(">Bi2", 0xD1, value)
  elseif value >= -0x80000000 then
    return pack(">Bi4", 0xD2, value)
  end
  return pack(">Bi8", 0xD3, value)
end

local function pack_string(text, out, n)
  local size = #text
  if invalid_utf8(text) then
    out[n + 1] = pack_head(size, 0, 0, "\xC4", 0xC5)
  else
    out[n + 1] = pack_head(size, 0xA0, 32, "\xD9", 0xDA)
  end
  out[n + 2] = text
  units = units - (size >> 6)
  return n + 2
end

-- Keys repeat: a bounded cache maps short ones to their output.
local CACHED_KEYS = 512
local CACHED_KEY_SIZE = 31 -- bytes: what fits the smallest head
local keys, key_count = {}, 0

local function pack_key(key, out, n)
  if type(key) == "string" then
    local stop = pack_string(key, out, n)
    if #key <= CACHED_KEY_SIZE then
      key_count = key_count + 1
      if key_count > CACHED_KEYS then
        keys, key_count = {}, 1
      end
      keys[key] = out[n + 1] .. key
    end
    return stop
  elseif math_type(key) == "integer" then
    out[n + 1] = pack_integer(key)
    return n + 1
  end
  return unfit("a map key must be a string or an integer")
end

local pack_value

local function pack_array(value, out, n, depth, count)
  n = n + 1
  out[n] = pack_head(count, 0x90, 16, nil, 0xDC)
  for index = 1, count do
    local failure
    n, failure = pack_value(rawget(value, index), out, n, depth)
    if not n then
      return within(failure, index)
    end
  end
  return n
end

local function pack_map(value, out, n, depth, count)
  n = n + 1
  out[n] = pack_head(count, 0x80, 16, nil, 0xDE)
  for key, item in next, value do
    local packed, failure = keys[key], nil
    if packed then
      n = n + 1
      out[n] = packed
    else
      n, failure = pack_key(key, out, n)
      if not n then
        return nil, failure
      end
    end
    n, failure = pack_value(item, out, n, depth)
    if not n then
      return within(failure, key)
    end
  end
  return n
end

local EMPTY_PACKED = { [EMPTY_OBJECT] = "\x80", [NULL] = "\xC0" }

local function pack_table(value, out, n, depth)
  if next(value) == nil then
    out[n + 1] = EMPTY_PACKED[empty_kinds[value]] or "\x90"
    return n + 1
  end
  if depth > CYCLE_DEPTH then
    local problem = enter(value, depth)
    if problem then
      return unfit(problem)
    end
  end
  local count, is_sequence = shape(value)
  if is_sequence then
    return pack_array(value, out, n, depth, count)
  end
  return pack_map(value, out, n, depth, count)
end

function pack_value(value, out, n, depth)
  units = units - 1
  if units <= 0 then
    n, units = flush(out, n, units), UNITS
  end
  local kind = type(value)
  if kind == "string" then
    return pack_string(value, out, n)
  elseif kind == "table" then
    return pack_table(value, out, n, depth + 1)
  end
  n = n + 1
  if kind == "number" then
    out[n] = math_type(value) == "integer" and pack_integer(value) or pack(">Bd", 0xCB, value)
  elseif kind == "boolean" then
    out[n] = value and "\xC3" or "\xC2"
  elseif kind == "nil" then
    out[n] = "\xC0"
  else
    return unfit("a " .. kind .. " cannot be encoded")
  end
  return n
end

-- Encodes a value as MessagePack: strings as str, or bin where they are not UTF-8, a table as an
-- array where its keys are 1 to n, else as a map. Returns `nil, message, "internal"` where it
-- cannot.
return function(value)
  local out = begin()
  units = UNITS
  local n, failure = pack_value(value, out, 0, 0)
  return finish(out, units, n, failure)
end
