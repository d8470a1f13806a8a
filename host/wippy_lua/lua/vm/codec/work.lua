-- What all codecs rest on: charging for work, output, failures, and what a table stands for.

local spend = ...

local error, next, rawequal, setmetatable, type = error, next, rawequal, setmetatable, type
local byte, char, find = string.byte, string.char, string.find
local concat, huge, math_type, utf8_len = table.concat, math.huge, math.type, utf8.len

local MAX_DEPTH = 128
local TOO_DEEP = "nesting is deeper than " .. MAX_DEPTH .. " levels"
local UNITS = 1000 -- units of work between two calls of `spend`
local STEP = 1024 -- bytes of input between two calls of `spend`
local SLICE = 16384 -- bytes of a string that are handled at once

-- Tables that do not encode as an empty array although they are empty. Weak, so that a decoded `{}`
-- stays an ordinary table: no metatable, nothing to see, nothing kept alive.
local EMPTY_OBJECT, NULL = "{}", "null"
local empty_kinds = setmetatable({}, { __mode = "k" })

local null = setmetatable({}, {
  __metatable = false,
  __name = NULL,
  __newindex = function()
    error("json.null is read-only", 2)
  end,
  __tostring = function()
    return NULL
  end,
})
empty_kinds[null] = NULL

-- Says whether a value stands for an object: it has a string key, or was decoded as an empty
-- object.
local function is_object(value)
  if type(value) ~= "table" then
    return false
  end
  local key = next(value)
  if key == nil then
    return empty_kinds[value] == EMPTY_OBJECT
  end
  return type(key) == "string"
end

-- What cannot be encoded. `kind` is "invalid" where text is not text, else "internal".
local function unfit(message, kind)
  return nil, { message = message, kind = kind or "internal", path = "" }
end

local SHOWN_KEY_SIZE = 64

-- Notes on the way up where in the value the failure is. Keys that would garble the message are not
-- shown.
local function within(failure, key)
  local step = "[?]"
  if math_type(key) then
    step = "[" .. key .. "]"
  elseif type(key) == "string" and #key <= SHOWN_KEY_SIZE and find(key, "^[%w_-]+$") then
    step = "." .. key
  end
  failure.path = step .. failure.path
  return nil, failure
end

-- What cannot be decoded, with the byte where it begins.
local function malformed(message, at)
  return { message = message, at = at }
end

-- The end of the slice of `text` that begins at `from`; it does not cut a UTF-8 character in two.
local function slice_end(text, from)
  local to = from + SLICE - 1
  if to >= #text then
    return #text
  end
  for _ = 1, 3 do
    local following = byte(text, to + 1)
    if following < 0x80 or following > 0xBF then
      break
    end
    to = to - 1
  end
  return to
end

-- The position of the first byte that is not UTF-8, or nil.
local function invalid_utf8(text)
  if #text <= SLICE then
    local _, at = utf8_len(text)
    return at
  end
  local from = 1
  while from <= #text do
    local to = slice_end(text, from)
    local _, at = utf8_len(text, from, to)
    if at then
      return at
    end
    spend((to - from) >> 8) -- four times as fast as other work on text
    from = to + 1
  end
  return nil
end

local LONG = 512 -- bytes of a string from which `has_special` is faster than a pattern
local SPECIALS = { '"', "\\" }
for code = 0, 31 do
  SPECIALS[#SPECIALS + 1] = char(code)
end

-- Says whether a slice has characters that JSON escapes. A search for one byte is so much faster
-- than a set in a pattern that 34 of them win.
local function has_special(slice)
  for index = 1, #SPECIALS do
    if find(slice, SPECIALS[index], 1, true) then
      return true
    end
  end
  return false
end

-- Output is a flat list of pieces, joined once for every UNITS of work: so neither the list nor a
-- single join grows with the document. A VM serves one call at a time and nothing here lets another
-- encoding in, so one state is enough; it begins anew with each, whatever became of the last one.
local pieces = {} -- kept between calls while small: growing it costs more than a small message
local chunks = {}

-- Lets go of the output of a large encoding, or of what one that `spend` ended has left.
local function forget()
  if chunks[1] then
    pieces, chunks = {}, {}
  end
end

local function begin()
  forget()
  return pieces
end

-- Joins the first `n` pieces, charges for them and returns the new length of `out`: 0. `left` is
-- what is left of UNITS; the caller starts with UNITS again.
local function flush(out, n, left)
  spend(UNITS - left)
  chunks[#chunks + 1] = concat(out, "", 1, n)
  return 0
end

-- Returns what an encoding comes to: its text, or `nil, message, kind` where `n` is nil.
local function finish(out, left, n, failure)
  spend(UNITS - left)
  if not n then
    forget()
    local where = failure.path == "" and "" or " at value" .. failure.path
    return nil, failure.message .. where, failure.kind
  end
  local text = concat(out, "", 1, n)
  if chunks[1] then
    chunks[#chunks + 1] = text
    text = concat(chunks)
    forget()
  end
  return text
end

-- Tables being encoded, by depth. Cycles are looked for below CYCLE_DEPTH: ordinary messages never
-- pay for it, and a cycle is still found before much of it has been repeated.
local CYCLE_DEPTH = 8
local open_tables = setmetatable({}, { __mode = "v" })

-- Enters a table at `depth`; returns a message where it cannot be encoded there.
local function enter(value, depth)
  if depth > MAX_DEPTH then
    return TOO_DEEP
  end
  for level = CYCLE_DEPTH + 1, depth - 1 do
    if rawequal(open_tables[level], value) then
      return "recursive table"
    end
  end
  open_tables[depth] = value
  return nil
end

-- The number of entries, and whether their keys are 1 to that number or at least all integers.
local function shape(value)
  local count, largest, integers = 0, 0, true
  for key in next, value do
    count = count + 1
    if key ~= count then
      if math_type(key) ~= "integer" then
        integers = false
      elseif key < 1 or key > largest then
        largest = key < 1 and huge or key
      end
    elseif key > largest then
      largest = key
    end
    if count % UNITS == 0 then
      spend(UNITS)
    end
  end
  return count, integers and largest == count, integers
end

local charged = 0 -- bytes of the input that the decoding in progress has been charged for

-- Charges for the input before `at` and returns the position where the next charge is due. Dense
-- text has about a value in 8 bytes; long strings are cheaper.
local function charge(at)
  local size = at - charged
  charged = at
  spend(size <= 2 * STEP and size >> 3 or size >> 6)
  return at + STEP
end

-- Begins the decoding of `text`: returns where the first charge is due, or `nil, message, kind`.
local function open_text(text, what)
  if type(text) ~= "string" then
    return nil, what .. " must be a string, not " .. type(text), "invalid"
  elseif text == "" then
    return nil, what .. " is empty", "invalid"
  end
  charged = 0
  return STEP
end

return {
  spend = spend,
  null = null,
  empty_kinds = empty_kinds,
  is_object = is_object,
  EMPTY_OBJECT = EMPTY_OBJECT,
  NULL = NULL,
  MAX_DEPTH = MAX_DEPTH,
  TOO_DEEP = TOO_DEEP,
  UNITS = UNITS,
  SLICE = SLICE,
  unfit = unfit,
  within = within,
  malformed = malformed,
  slice_end = slice_end,
  invalid_utf8 = invalid_utf8,
  LONG = LONG,
  has_special = has_special,
  begin = begin,
  flush = flush,
  finish = finish,
  enter = enter,
  shape = shape,
  CYCLE_DEPTH = CYCLE_DEPTH,
  charge = charge,
  open_text = open_text,
}
