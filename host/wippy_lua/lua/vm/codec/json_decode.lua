-- JSON, from text to values, strictly by RFC 8259.
--
-- A pattern does the work of many calls: one `match` finds a member's separator, key, colon and the
-- first character of its value. It knows the usual spacing and the keys seen before; `slow_member`
-- knows all of JSON. New tables are made with room for four entries, which saves three rehashes.

local work = ...

local next, setmetatable, tonumber = next, setmetatable, tonumber
local byte, char, find, gmatch = string.byte, string.char, string.find, string.gmatch
local match, rep, sub = string.match, string.rep, string.sub
local concat, utf8_char = table.concat, utf8.char
local huge, math_type, tointeger = math.huge, math.type, math.tointeger
local null, empty_kinds, EMPTY_OBJECT = work.null, work.empty_kinds, work.EMPTY_OBJECT
local MAX_DEPTH, TOO_DEEP, UNITS = work.MAX_DEPTH, work.TOO_DEEP, work.UNITS
local malformed, invalid_utf8, charge = work.malformed, work.invalid_utf8, work.charge
local open_text, spend = work.open_text, work.spend
local LONG, SLICE, has_special = work.LONG, work.SLICE, work.has_special

local CACHED_KEYS = 512
local CACHED_KEY_SIZE = 64 -- bytes

local due = 0 -- the position in the text where the next charge is due

local STRING = '^([]-\255 #-[!]*)"()'
local ESCAPE = '^([]-\255 #-[!]*)\\(["\\/bfnrtu])()'
local UNESCAPES = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }
UNESCAPES['"'], UNESCAPES["\\"], UNESCAPES["/"] = '"', "\\", "/"

-- The character whose `\u` escape has its digits at `at`. Half a surrogate pair is refused: it has
-- no UTF-8, and a replacement character would change the message.
local function json_code_point(text, at)
  local digits, stop = match(text, "^(%x%x%x%x)()", at)
  if not digits then
    return malformed("expected four hexadecimal digits", at)
  end
  local code = tonumber(digits, 16)
  if code >= 0xD800 and code <= 0xDFFF then
    local low, low_stop = match(text, "^\\u([dD][c-fC-F]%x%x)()", stop)
    if code >= 0xDC00 or not low then
      return malformed("half a surrogate pair", at - 2)
    end
    code = 0x10000 + ((code - 0xD800) << 10) + (tonumber(low, 16) - 0xDC00)
    stop = low_stop
  end
  return utf8_char(code), stop
end

-- Any string, escapes included, whose opening quote is at `at`.
local function json_text(text, at)
  local joined, parts, n, i = {}, {}, 0, at + 1
  while true do
    local span, escape, stop = match(text, ESCAPE, i)
    if not span then
      break
    end
    local character = UNESCAPES[escape]
    if not character then
      character, stop = json_code_point(text, stop)
      if not stop then
        return character
      end
    end
    parts[n + 1], parts[n + 2] = span, character
    n, i = n + 2, stop
    if i > due then
      due = charge(i)
      joined[#joined + 1] = concat(parts, "", 1, n)
      n = 0
    end
  end
  local span, stop = match(text, STRING, i)
  if not span then
    local bad = match(text, "^[]-\255 #-[!]*()", i)
    local message = bad > #text and "string without an end"
      or byte(text, bad) < 32 and "control character in a string"
      or "bad escape"
    return malformed(message, bad)
  end
  parts[n + 1] = span
  joined[#joined + 1] = concat(parts, "", 1, n + 1)
  return concat(joined), stop
end

local function json_finite(value, at, stop)
  if value == huge or value == -huge then
    return malformed("number is out of range", at)
  end
  return value, stop
end

-- A number with a fraction or an exponent. No pattern here may be able to split the same digits in
-- two ways: a long number that fails would be tried in all of them.
local function json_real(text, at)
  local token, stop, exponent = match(text, "^(-?%d+%.%d+)()([eE]?)", at)
  if exponent ~= "" then
    local form = exponent and "^(-?%d+%.%d+[eE][+-]?%d+)()" or "^(-?%d+[eE][+-]?%d+)()"
    token, stop = match(text, form, at)
    if not token then
      return malformed("bad number", at)
    end
  end
  return json_finite(tonumber(token), at, stop)
end

-- A number that begins with 1 to 9.
local function json_number(text, at)
  local digits, stop, more = match(text, "^(%d+)()([.eE]?)", at)
  if more ~= "" then
    return json_real(text, at)
  end
  return json_finite(tonumber(digits), at, stop)
end

-- A number that begins with 0 or a minus sign.
local function json_signed(text, at)
  local sign, digits, stop, more = match(text, "^(-?)(%d+)()([.eE]?)", at)
  if not digits or find(digits, "^0.") then
    return malformed("bad number", at)
  elseif more ~= "" then
    return json_real(text, at)
  end
  return json_finite(tonumber(sign .. digits), at, stop)
end

-- Parsers by first character: (text, position, depth of the parent) -> value, next | failure, nil.
local json_parsers = { ["0"] = json_signed, ["-"] = json_signed }
for digit = 0x31, 0x39 do
  json_parsers[char(digit)] = json_number
end

-- Whether this text seems to hold long strings; looking for them costs more than short ones gain.
local expect_long = false

-- Says whether one of three places in the text is far before the next quote.
local function has_long_stretch(text)
  local size = #text
  for quarter = 1, 3 do
    local at = size * quarter // 4
    local quote = find(text, '"', at, true)
    if quote and quote - at > LONG // 2 then
      return true
    end
  end
  return false
end

-- The string that begins at `at` and has its first quote at `quote`.
local function long_string(text, at, quote)
  local value = sub(text, at + 1, quote - 1)
  for from = 1, #value, SLICE do
    if has_special(sub(value, from, from + SLICE - 1)) then
      return json_text(text, at)
    end
    spend(SLICE >> 8)
  end
  return value, quote + 1
end

json_parsers['"'] = function(text, at)
  if expect_long then
    local quote = find(text, '"', at + 1, true)
    if quote and quote - at > LONG then
      return long_string(text, at, quote)
    end
  end
  local value, stop = match(text, STRING, at + 1)
  if value then
    return value, stop
  end
  return json_text(text, at)
end

for word, value in next, { ["true"] = true, ["false"] = false, ["null"] = null } do
  json_parsers[sub(word, 1, 1)] = function(text, at)
    if sub(text, at, at + #word - 1) ~= word then
      return malformed("expected a value", at)
    end
    return value, at + #word
  end
end

local function json_unexpected(_, at)
  return malformed("expected a value", at)
end
setmetatable(json_parsers, {
  __index = function()
    return json_unexpected
  end,
})

json_parsers["\xEF"] = function(text, at)
  if at == 1 and sub(text, 1, 3) == "\xEF\xBB\xBF" then
    return malformed("text begins with a byte order mark", at)
  end
  return json_unexpected(text, at)
end

local function json_spaced(text, at, depth)
  local start, first = match(text, "^[ \n\r\t]+()(.?)", at)
  return json_parsers[first](text, start, depth)
end
for space in gmatch(" \n\r\t", ".") do
  json_parsers[space] = json_spaced
end

-- Unquoted keys by their quoted form, which is checked once.
local names, name_count = {}, 0

local function remember_name(quoted, name)
  name_count = name_count + 1
  if name_count > CACHED_KEYS then
    names, name_count = {}, 1
  end
  names[quoted] = name
end

local QUOTE = byte('"')
local BEFORE_KEY = { ["{"] = "^{[ \n\r\t]*()", [","] = "^[ \n\r\t]*,[ \n\r\t]*()" }
local AFTER_LAST = { ["{"] = "^{[ \n\r\t]*}()", [","] = "^[ \n\r\t]*}()" }

-- A member whose key is new, or that is spaced in an unusual way; `separator` comes before it.
-- Returns key, value position, first of value; or nil, position after the object; or nil, nil,
-- failure.
local function slow_member(text, i, separator)
  local close = match(text, AFTER_LAST[separator], i)
  if close then
    return nil, close
  end
  local quote = match(text, BEFORE_KEY[separator], i)
  if not quote then
    return nil, nil, malformed("expected ',' or '}'", match(text, "^[ \n\r\t]*()", i))
  elseif byte(text, quote) ~= QUOTE then
    local what = separator == "{" and "a key or '}'" or "a key"
    return nil, nil, malformed("expected " .. what, quote)
  end
  local key, stop = json_text(text, quote)
  if not stop then
    return nil, nil, key
  end
  local at, first = match(text, "^[ \n\r\t]*:[ \n\r\t]*()(.?)", stop)
  if not at then
    return nil, nil, malformed("expected ':'", match(text, "^[ \n\r\t]*()", stop))
  end
  if #key <= CACHED_KEY_SIZE then
    remember_name(sub(text, quote, stop - 1), key)
  end
  return key, at, first
end

local FIRST_MEMBER, LATER_MEMBER = '^{(%b""): ?()(.)', '^, ?(%b""): ?()(.)'

json_parsers["{"] = function(text, i, depth)
  if depth >= MAX_DEPTH then
    return malformed(TOO_DEEP, i)
  end
  local object, pattern, separator = { a = nil, b = nil, c = nil, d = nil }, FIRST_MEMBER, "{"
  while true do
    local quoted, at, first = match(text, pattern, i)
    local key, value = names[quoted], nil
    if not key then
      key, at, first = slow_member(text, i, separator)
      if not key then
        if at and next(object) == nil then
          empty_kinds[object] = EMPTY_OBJECT
        end
        return at and object or first, at
      end
    end
    value, i = json_parsers[first](text, at, depth + 1)
    if not i then
      return value
    elseif value == null then
      value = nil
    end
    object[key] = value
    if i > due then
      due = charge(i)
    end
    pattern, separator = LATER_MEMBER, ","
  end
end

-- Arrays of numbers are read four at a time. Other spellings of numbers end the run.
local INTEGERS = "^" .. rep(", ?(-?[1-9]%d*)", 4) .. "()[,%]]"
local REALS = "^" .. rep(", ?(-?[1-9]?%d%.%d+)", 4) .. "()[,%]]"

local function json_run(text, i, array, n, integers)
  local pattern, convert = REALS, tonumber
  if integers then
    pattern, convert = INTEGERS, tointeger
  end
  while true do
    local a, b, c, d, stop = match(text, pattern, i)
    if not a then
      return i, n
    end
    a, b, c, d = convert(a), convert(b), convert(c), convert(d)
    if not (a and b and c and d) then
      return i, n -- an integer beyond 64 bits
    end
    array[n + 1], array[n + 2], array[n + 3], array[n + 4] = a, b, c, d
    n, i = n + 4, stop
    if i > due then
      due = charge(i)
    end
  end
end

local FIRST_ITEM, LATER_ITEM = "^%[[ \n\r\t]*()(.)", "^, ?()(.)"
local RUN_FROM = 4 -- items before a run is looked for: short arrays would not gain

json_parsers["["] = function(text, i, depth)
  if depth >= MAX_DEPTH then
    return malformed(TOO_DEEP, i)
  end
  local array, n, pattern, value = { nil, nil, nil, nil }, 0, FIRST_ITEM, nil
  while true do
    local at, first = match(text, pattern, i)
    if not at then
      local close = match(text, "^[ \n\r\t]*%]()", i)
      if close then
        return array, close
      end
      at, first = match(text, "^[ \n\r\t]*,()(.?)", i)
      if not at then
        return malformed("expected ',' or ']'", match(text, "^[ \n\r\t]*()", i))
      end
    elseif first == "]" and n == 0 then
      return array, at + 1
    end
    value, i = json_parsers[first](text, at, depth + 1)
    if not i then
      return value
    end
    n = n + 1
    array[n] = value
    if n >= RUN_FROM and math_type(value) then
      i, n = json_run(text, i, array, n, math_type(value) == "integer")
    end
    if i > due then
      due = charge(i)
    end
    pattern = LATER_ITEM
  end
end

-- Says where a byte of the text is; columns count bytes.
local function line_and_column(text, at)
  local line, start = 1, 1
  while true do
    local newline = find(text, "\n", start, true)
    if not newline or newline >= at then
      return "line " .. line .. " column " .. at - start + 1
    end
    line, start = line + 1, newline + 1
    if line % UNITS == 0 then
      spend(UNITS)
    end
  end
end

local function json_document(text)
  local bad = invalid_utf8(text)
  if bad then
    return malformed("text is not UTF-8", bad)
  end
  expect_long = #text > 2 * LONG and has_long_stretch(text)
  local value, stop = json_parsers[sub(text, 1, 1)](text, 1, 0)
  if stop and stop <= #text then
    stop = match(text, "^[ \n\r\t]*()", stop)
    if stop <= #text then
      return malformed("text goes on after its value", stop)
    end
  end
  return value, stop
end

-- Decodes JSON. Returns `nil, message, kind` where it cannot; the kind is "invalid" where there is
-- no text at all, else "internal". A null decodes to nil, in an array to `null`. Integers beyond 64
-- bits become floats, numbers beyond floats are refused.
return function(text)
  local problem, kind
  due, problem, kind = open_text(text, "JSON")
  if not due then
    return nil, problem, kind
  end
  local value, stop = json_document(text)
  charge(stop or value.at)
  if not stop then
    return nil, value.message .. " at " .. line_and_column(text, value.at), "internal"
  elseif value == null then
    return nil
  end
  return value
end
