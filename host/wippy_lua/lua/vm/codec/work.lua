-- What all codecs rest on: what a table stands for, checks of text, and what decoders charge.

local spend = ...

local error, next, setmetatable, type = error, next, setmetatable, type
local byte, char, find, utf8_len = string.byte, string.char, string.find, utf8.len

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
local specials

local function make_specials()
  local found = { '"', "\\" }
  for code = 0, 31 do
    found[#found + 1] = char(code)
  end
  return found
end

-- Says whether a slice has characters that JSON escapes. A search for one byte is so much faster
-- than a set in a pattern that 34 of them win.
local function has_special(slice)
  specials = specials or make_specials()
  for index = 1, #specials do
    if find(slice, specials[index], 1, true) then
      return true
    end
  end
  return false
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
  malformed = malformed,
  slice_end = slice_end,
  invalid_utf8 = invalid_utf8,
  LONG = LONG,
  has_special = has_special,
  charge = charge,
  open_text = open_text,
}
