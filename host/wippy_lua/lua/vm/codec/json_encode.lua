-- JSON, from values to text.

local work, output = ...

local next, rawget, tonumber, type = next, rawget, tonumber, type
local byte, char, find, format = string.byte, string.char, string.find, string.format
local gsub, sub = string.gsub, string.sub
local concat, huge, math_type = table.concat, math.huge, math.type
local NULL, UNITS, LONG, empty_kinds = work.NULL, work.UNITS, work.LONG, work.empty_kinds
local slice_end, invalid_utf8, has_special = work.slice_end, work.invalid_utf8, work.has_special
local CYCLE_DEPTH, unfit, within, begin = output.CYCLE_DEPTH, output.unfit, output.within, output.begin
local flush, finish, enter, shape = output.flush, output.finish, output.enter, output.shape

-- Object keys repeat: a bounded cache maps each to its output.
local CACHED_KEYS = 512
local CACHED_KEY_SIZE = 64 -- bytes

local units = UNITS -- of work, left until `flush` is due

-- ASCII that needs no escape; the matcher tries a set in its order, so the commonest come first.
local PLAIN = "^[]-\127 #-[!]*"
local UNESCAPED = "^[]-\255 #-[!]*" -- the same and beyond ASCII
local SPECIAL = '[\0-\31"\\]'

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n" }
ESCAPES["\r"], ESCAPES["\t"] = "\\r", "\\t"
for code = 0, 31 do
  ESCAPES[char(code)] = ESCAPES[char(code)] or format("\\u%04x", code)
end

-- Says whether a slice has something to escape.
local function needs_escape(slice)
  if #slice >= LONG then
    return has_special(slice)
  end
  local _, stop = find(slice, UNESCAPED)
  return stop ~= #slice
end

-- Appends a string that is long or not just PLAIN, slice by slice, and the closing quote.
local function json_escaped(text, out, n)
  if invalid_utf8(text) then
    return unfit("string is not UTF-8", "invalid")
  end
  local from = 1
  repeat
    local to = slice_end(text, from)
    local slice = sub(text, from, to)
    n = n + 1
    out[n] = needs_escape(slice) and gsub(slice, SPECIAL, ESCAPES) or slice
    from = to + 1
    units = units - (#slice >> 6)
    if units <= 0 then
      n, units = flush(out, n, units), UNITS
    end
  until from > #text
  out[n + 1] = '"'
  return n + 1
end

local function json_string(text, out, n)
  local size, _, stop = #text, nil, nil
  out[n + 1] = '"'
  if size < LONG then
    _, stop = find(text, PLAIN)
  end
  if stop ~= size then
    return json_escaped(text, out, n + 1)
  end
  units = units - (size >> 6)
  out[n + 2] = text
  out[n + 3] = '"'
  return n + 3
end

-- The shortest of two forms that reads back as the same float; Inf and NaN have none.
local function json_float(value)
  if value ~= value or value == huge or value == -huge then
    return NULL
  end
  local text = format("%.15g", value)
  if tonumber(text) ~= value then
    text = format("%.17g", value)
  end
  local _, stop = find(text, "^-?%d+")
  local following = byte(text, stop + 1)
  if not following then
    return text .. ".0" -- stays a float
  elseif following ~= 0x2E and following ~= 0x65 then
    return (gsub(text, "[^%de+-]+", ".")) -- the process has a locale with a decimal comma
  end
  return text
end

-- Output for the keys of first and of later members, with brace or comma and colon.
local first_heads, later_heads, head_count = {}, {}, 0

local function remember_head(key, head, first)
  head_count = head_count + 1
  if head_count > CACHED_KEYS then
    first_heads, later_heads, head_count = {}, {}, 1
  end
  local heads = first and first_heads or later_heads
  heads[key] = head
end

-- Appends the head of a member that is not in the cache.
local function json_key(key, out, n, first)
  if type(key) ~= "string" then
    return unfit("table has mixed keys: strings and others")
  end
  if units <= 1 then
    n, units = flush(out, n, units), UNITS -- none may fall between the pieces of a short key
  end
  local start, failure = n + 1, nil
  out[start] = first and "{" or ","
  n, failure = json_string(key, out, start)
  if not n then
    return nil, failure
  end
  n = n + 1
  out[n] = ":"
  if #key <= CACHED_KEY_SIZE then
    remember_head(key, concat(out, "", start, n), first)
  end
  return n
end

local json_value

local function json_object(value, out, n, depth)
  local heads, failure = first_heads, nil
  for key, item in next, value do
    local head = heads[key]
    if head then
      n = n + 1
      out[n] = head
    else
      n, failure = json_key(key, out, n, heads == first_heads)
    end
    if n then
      n, failure = json_value(item, out, n, depth)
    end
    if not n then
      return within(failure, key)
    end
    heads = later_heads
  end
  out[n + 1] = "}"
  return n + 1
end

-- Appends the items after the first `done` of a table that `next` does not visit in order.
local function json_unordered(value, out, n, depth, done)
  local count, is_sequence, integers = shape(value)
  if not is_sequence then
    return unfit(integers and "sparse array" or "table has mixed keys: integers and others")
  end
  for index = done + 1, count do
    n = n + 1
    out[n] = index == 1 and "[" or ","
    local failure
    n, failure = json_value(rawget(value, index), out, n, depth)
    if not n then
      return within(failure, index)
    end
  end
  out[n + 1] = "]"
  return n + 1
end

local function json_array(value, out, n, depth)
  local index, separator, failure = 0, "[", nil
  for key, item in next, value do
    index = index + 1
    if key ~= index then
      return json_unordered(value, out, n, depth, index - 1)
    end
    n = n + 1
    out[n] = separator
    separator = ","
    n, failure = json_value(item, out, n, depth)
    if not n then
      return within(failure, index)
    end
  end
  out[n + 1] = "]"
  return n + 1
end

local function json_table(value, out, n, depth)
  local first = next(value)
  if first == nil then
    out[n + 1] = empty_kinds[value] or "[]"
    return n + 1
  end
  if depth > CYCLE_DEPTH then
    local problem = enter(value, depth)
    if problem then
      return unfit(problem)
    end
  end
  if type(first) == "string" then
    return json_object(value, out, n, depth)
  end
  return json_array(value, out, n, depth)
end

function json_value(value, out, n, depth)
  units = units - 1
  if units <= 0 then
    n, units = flush(out, n, units), UNITS
  end
  local kind = type(value)
  if kind == "string" then
    return json_string(value, out, n)
  elseif kind == "table" then
    return json_table(value, out, n, depth + 1)
  end
  n = n + 1
  if kind == "number" then
    out[n] = math_type(value) == "integer" and value or json_float(value)
  elseif kind == "boolean" then
    out[n] = value and "true" or "false"
  elseif kind == "nil" then
    out[n] = NULL
  else
    return unfit("a " .. kind .. " cannot be encoded")
  end
  return n
end

-- Encodes a value as JSON. Returns `nil, message, kind` where it cannot; the kind is "invalid" for
-- a string that is not UTF-8, else "internal".
return function(value)
  local out = begin()
  units = UNITS
  local n, failure = json_value(value, out, 0, 0)
  return finish(out, units, n, failure)
end
