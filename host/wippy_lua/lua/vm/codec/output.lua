-- What the encoders rest on: output, failures, and the shape of tables.

local work = ...

local next, rawequal, setmetatable, type = next, rawequal, setmetatable, type
local find, concat, huge, math_type = string.find, table.concat, math.huge, math.type
local spend, MAX_DEPTH, TOO_DEEP = work.spend, work.MAX_DEPTH, work.TOO_DEEP
local UNITS = work.UNITS

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

return {
  unfit = unfit,
  within = within,
  begin = begin,
  flush = flush,
  finish = finish,
  enter = enter,
  shape = shape,
  CYCLE_DEPTH = CYCLE_DEPTH,
}
