-- Matches a pattern against a subject, in Lua, so that a count hook sees its steps.
--
-- The items of a pattern become closures `node(m, i)` that give the end of a match at i, or nil.
-- What makes ordinary patterns fast:
--   * `item.first`, the bytes that what follows must start with: where they stand tells which
--     positions are worth trying, and C finds them, one block of the subject at a time;
--   * `item.apart`: a repeated class that shares no byte with `first` gains nothing by
--     backtracking;
--   * spans of a class and searches for a set are remembered, so that neither is done twice.
--
-- A match state `m` holds the subject `s` of length `n`, a block of it (its bytes base+1 .. last),
-- and at integer keys the ends of the captures, then the remembered intervals.

local pattern_syntax = ...

local byte, char, sub, c_find = string.byte, string.char, string.sub, string.find
local unpack, getinfo = table.unpack, debug.getinfo
local syntax, spell = pattern_syntax.syntax, pattern_syntax.spell

local BLOCK = 32768 -- bytes that one C call looks at: well under a millisecond with any class
local MAX_NESTING = 1000 -- items that keep a Lua frame; the C matcher gives up at 200

-- The sources of the matcher's own functions, which are never to blame for an error.
local own = { [getinfo(1, "S").source] = true }

-- Raises an error that blames the code that called the matcher, as a C function would.
local function raise(message)
  local level, info = 2, getinfo(2, "S")
  while info and own[info.source] do
    level = level + 1
    info = getinfo(level, "S")
  end
  error(message, info and level or 0)
end

-- Searching in blocks ----------------------------------------------------------------------------

-- Makes the state's block hold position i, which is at most n.
local function locate(m, i)
  if i <= m.base or i > m.last then
    m.base, m.block = i - 1, sub(m.s, i, i + BLOCK - 1)
    m.last = m.base + #m.block
  end
end

-- Gives the first position from i on whose byte belongs to the set, or n + 1.
local function scan(m, set, i)
  local n = m.n
  if set.size < 2 then
    local value = next(set.bytes)
    return value and c_find(m.s, char(value), i, true) or n + 1 -- memchr: 32 MiB in 3 ms
  end
  set.search = set.search or spell(set)
  while i <= n do
    locate(m, i)
    local found = c_find(m.block, set.search, i - m.base)
    if found then
      return found + m.base
    end
    i = m.last + 1
  end
  return n + 1
end

-- Gives the first position from i on that belongs to the set, or nil.
local function seek(m, slot, set, i)
  local value = byte(m.s, i)
  if set.bytes[value] then
    return i
  end
  local from, found = m[slot], m[slot + 1]
  if not from or i < from or i > found then
    found = value and scan(m, set, i) or i
    m[slot], m[slot + 1] = i, found
  end
  if found <= m.n or set.at_end and found == m.n + 1 then
    return found
  end
  return nil
end

-- Gives the first position from i on that does not belong to the class.
local function span(m, slot, set, i)
  if set.size == 256 then
    return m.n + 1
  elseif not set.bytes[byte(m.s, i)] then
    return i
  end
  local from, stop = m[slot], m[slot + 1]
  if from and from <= i and i < stop then
    return stop
  end
  set.span = set.span or "^" .. (#set.text <= 16 and set.text or spell(set)) .. "*"
  stop = i
  repeat
    locate(m, stop)
    local _, last = c_find(m.block, set.span, stop - m.base)
    stop = last + m.base + 1
  until stop <= m.last or stop > m.n
  m[slot], m[slot + 1] = i, stop
  return stop
end

-- Nodes ------------------------------------------------------------------------------------------
-- Each builder gives the closure of one item; `rest` is the closure of what follows it.

local build = {}

function build.text(item, rest)
  local text, length = item.text, #item.text
  local first = byte(text)
  return function(m, i)
    if byte(m.s, i) == first and sub(m.s, i, i + length - 1) == text then
      return rest(m, i + length)
    end
    return nil
  end
end

function build.single(item, rest)
  local bytes = item.class.bytes
  return function(m, i)
    if bytes[byte(m.s, i)] then
      return rest(m, i + 1)
    end
    return nil
  end
end

function build.option(item, rest)
  local bytes, apart = item.class.bytes, item.apart
  return function(m, i)
    if bytes[byte(m.s, i)] then
      local stop = rest(m, i + 1)
      if stop or apart then
        return stop
      end
    end
    return rest(m, i)
  end
end

-- A repeated class after which only one position can match: where its span ends.
local function unbacktracked(item, rest, slot, least)
  local set = item.class
  return function(m, i)
    local stop = span(m, slot, set, i)
    if stop >= i + least then
      return rest(m, stop)
    end
    return nil
  end
end

local function greedy(item, rest, slot, least)
  if item.apart then
    return unbacktracked(item, rest, slot, least)
  end
  local set, first = item.class, item.first
  local bytes, at_end = first and first.bytes, first and first.at_end
  return function(m, i)
    local s, n = m.s, m.n
    for j = span(m, slot, set, i), i + least, -1 do
      if not bytes or bytes[byte(s, j)] or at_end and j > n then
        local stop = rest(m, j)
        if stop then
          return stop
        end
      end
    end
    return nil
  end
end

function build.star(item, rest, slot)
  return greedy(item, rest, slot, 0)
end

function build.plus(item, rest, slot)
  return greedy(item, rest, slot, 1)
end

function build.lazy(item, rest, slot)
  if item.apart then
    return unbacktracked(item, rest, slot, 0)
  end
  local set, first = item.class, item.first
  return function(m, i)
    local j, limit = i, nil
    repeat
      if first then
        j = seek(m, slot + 2, first, j)
      end
      if j and j > i then
        limit = limit or span(m, slot, set, i)
        if j > limit then
          return nil
        end
      end
      local stop = j and rest(m, j)
      if stop or not j then
        return stop
      end
      j = j + 1
    until j > m.n + 1
    return nil
  end
end

function build.mark(item, rest)
  local slot = item.slot
  return function(m, i)
    m[slot] = i
    return rest(m, i)
  end
end

function build.finish()
  return function(m, i)
    return i == m.n + 1 and i or nil
  end
end

function build.balance(item, rest, slot)
  local bytes, both, close = item.class.bytes, item.both, item.close
  return function(m, i)
    local s, depth, j = m.s, 1, i
    if not bytes[byte(s, i)] then
      return nil
    end
    while true do
      j = seek(m, slot, both, j + 1)
      if not j then
        return nil
      end
      depth = depth + (byte(s, j) == close and -1 or 1)
      if depth == 0 then
        return rest(m, j + 1)
      end
    end
  end
end

function build.frontier(item, rest)
  local bytes = item.class.bytes
  return function(m, i)
    -- What is before the subject and after it counts as a zero byte.
    local before = i > 1 and byte(m.s, i - 1) or 0
    if not bytes[before] and bytes[byte(m.s, i) or 0] then
      return rest(m, i)
    end
    return nil
  end
end

function build.back(item, rest)
  local slot, is_position = item.slot, item.is_position
  return function(m, i)
    local s, from = m.s, m[slot]
    local length = not is_position and m[slot + 1] - from
    if not length or length > m.n + 1 - i then
      return nil
    elseif length > 0 then
      if byte(s, i) ~= byte(s, from)
        or sub(s, i, i + length - 1) ~= sub(s, from, from + length - 1) then
        return nil
      end
    end
    return rest(m, i + length)
  end
end

function build.fault(item)
  local problem = item.problem
  return function()
    return raise(problem)
  end
end

-- Programs ---------------------------------------------------------------------------------------

local NESTED = { star = true, plus = true, lazy = true, option = true }

-- Gives how many items a program can run before its frames are too many.
local function bounded_length(items)
  local nested = 0
  for index = 1, #items do
    if NESTED[items[index].op] then
      nested = nested + 1
      if nested > MAX_NESTING then
        return index - 1
      end
    end
  end
  return #items
end

-- The remembered span of a repeated class that leads a pattern: when nothing matched there, nothing
-- will from the rest of the span. Back references could tell the starts apart.
local function leading_span(items, captures)
  local index = 1
  while items[index] and items[index].op == "mark" do
    index = index + 1
  end
  local item = items[index]
  local leads = item and item.apart and item.op ~= "option"
  return leads and not captures.referenced and index
end

local function accept(_, i)
  return i
end

-- Adds to a syntax what matching needs: `node`, `slot` for the search of a start, `lead`.
local function compile(p, is_gmatch)
  local program = syntax(p, is_gmatch)
  if program.node then
    return program
  end
  local items, node = program.items, accept
  local length, slot = bounded_length(items), 2 * #program.captures + 1
  if length < #items then
    node = build.fault({ problem = "pattern too complex" })
  end
  local leading = leading_span(items, program.captures)
  program.slot = slot
  for index = length, 1, -1 do
    slot = slot + 4
    node = build[items[index].op](items[index], node, slot)
    if index == leading then
      program.lead = slot
    end
  end
  program.node, program.items = node, nil
  return program
end

local function state(s)
  local n = #s
  return { s = s, n = n, block = s, base = 0, last = n <= BLOCK and n or 0 }
end

-- Gives start and end (exclusive) of the first match from i on that does not end at `last`.
local function search(m, program, i, last)
  local node, first, slot, lead = program.node, program.first, program.slot, program.lead
  if program.anchored then
    local stop = node(m, i)
    return stop and i, stop
  end
  while i <= m.n + 1 do
    if first then
      i = seek(m, slot, first, i)
      if not i then
        return nil
      end
    end
    local stop = node(m, i)
    if stop and stop ~= last then
      return i, stop
    end
    local skipped = lead and not stop and m[lead] and m[lead] <= i and m[lead + 1]
    i = skipped and skipped > i and skipped or i + 1
  end
  return nil
end

-- Gives one capture; `index` 1 is the whole match when there are none.
local function capture(m, captures, index, from, stop)
  local kind = captures[index]
  if kind == "position" then
    return m[2 * index - 1]
  elseif kind == "closed" then
    return sub(m.s, m[2 * index - 1], m[2 * index] - 1)
  elseif kind then
    return raise("unfinished capture")
  elseif index > 1 then
    return raise("invalid capture index %" .. index)
  end
  return sub(m.s, from, stop - 1)
end

-- Gives all captures, or the whole match when there are none.
local function all_captures(m, captures, from, stop)
  if #captures < 2 then
    return capture(m, captures, 1, from, stop)
  end
  local values = {}
  for index = 1, #captures do
    values[index] = capture(m, captures, index, from, stop)
  end
  return unpack(values, 1, #captures)
end

return {
  compile = compile,
  state = state,
  search = search,
  capture = capture,
  all_captures = all_captures,
  raise = raise,
  own = own,
}
