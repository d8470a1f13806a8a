-- `table` with bounded time between two looks of a count hook.
--
-- Plain tables (without a metatable) and ordinary ranges go straight to C; a large range goes there
-- in chunks. Where metamethods are involved, the work is done in Lua, with the same results and
-- errors. The length of a crafted table can be 2^62, so that "#" alone promises nothing.

local arguments, tick = ...

local c = {}
for name, f in next, table do
  c[name] = f
end
local c_insert, c_remove, c_unpack = table.insert, table.remove, table.unpack
local getmetatable, setmetatable, select, ult = getmetatable, setmetatable, select, math.ult
local math_type, tointeger = math.type, math.tointeger
local MAX_INTEGER = math.maxinteger
local getinfo = debug.getinfo
local text, integer, check_table = arguments.string, arguments.integer, arguments.table

local CHUNK = 4096 -- elements that C goes through in about 0.1 ms
local MAX_RESULTS = 1000000 -- values on a Lua stack
local MAX_ARRAY = 2147483647 -- elements that C sorts, exclusive
local FREE_SORT = 512 -- elements that C sorts in about 0.2 ms
local NATIVE_SORT = 8192 -- and in a few ms

local bounded = { pack = c.pack }

-- Gives the length of a table; metamethods may have made it anything.
local function length(t)
  local n = #t -- of a plain table an integer
  if math_type(n) ~= "integer" then
    n = tointeger(n)
    if not n then
      error("object length is not an integer", 3)
    end
  end
  return n
end

-- Calls visit(first, last) for the chunks of a range that is not empty, upwards or downwards.
local function each_chunk(first, last, downwards, visit)
  local left = last - first
  while ult(CHUNK - 1, left) do
    if downwards then
      visit(first + left - CHUNK + 1, first + left)
    else
      visit(last - left, last - left + CHUNK - 1)
    end
    left = left - CHUNK
  end
  if downwards then
    visit(first, first + left)
  else
    visit(last - left, last)
  end
end

-- concat -----------------------------------------------------------------------------------------

-- Gives a copy of a range up to the first value that cannot be joined, and that value's index.
local function joinable(t, first, last)
  local values = {}
  for index = first, last do
    local value = t[index]
    local kind = type(value)
    if kind ~= "string" and kind ~= "number" then
      return values, index, kind
    end
    values[index - first + 1] = value
  end
  return values
end

local function join_range(t, sep, first, last)
  local pieces, level = {}, 4 -- the visit, each_chunk, this function, the user
  each_chunk(first, last, false, function(from, to)
    local values, index, kind = joinable(t, from, to)
    if index then
      local problem = "invalid value (%s) at index %d in table for 'concat'"
      error(string.format(problem, kind, index), level)
    end
    pieces[#pieces + 1] = c.concat(values, sep)
  end)
  return c.concat(pieces, sep)
end

function bounded.concat(t, sep, first, last)
  local size = length(check_table(t, 1, "concat"))
  if sep ~= nil and type(sep) ~= "string" then
    sep = text(sep, 2, "concat")
  end
  first = first == nil and 1 or integer(first, 3, "concat")
  last = last == nil and size or integer(last, 4, "concat")
  if first > last then
    return ""
  elseif getmetatable(t) == nil and ult(last - first, CHUNK) then
    local ok, result = pcall(c.concat, t, sep, first, last)
    if not ok then
      arguments.rethrow(result, "concat")
    end
    return result
  end
  return join_range(t, sep, first, last)
end

-- unpack -----------------------------------------------------------------------------------------

local function unpack_through_metamethods(t, first, last)
  local values, count = {}, last - first + 1
  for index = 1, count do
    values[index] = t[first + index - 1]
  end
  return c.unpack(values, 1, count)
end

function bounded.unpack(t, first, last)
  if type(t) ~= "table" then
    error("attempt to get length of a " .. type(t) .. " value", 2)
  end
  local is_plain = getmetatable(t) == nil
  first = first == nil and 1 or integer(first, 2, "unpack")
  if last ~= nil then
    last = integer(last, 3, "unpack")
  else
    last = is_plain and #t or length(t)
  end
  if first > last then
    return
  elseif not ult(last - first, MAX_RESULTS) then
    error("too many results to unpack", 2)
  elseif not is_plain then
    return unpack_through_metamethods(t, first, last)
  elseif last - first >= CHUNK then
    tick()
  end
  return c_unpack(t, first, last)
end

-- move, insert, remove ---------------------------------------------------------------------------

-- Copies from[first..last] to to[target...]; the range is not empty and both ends are in range.
local function move_range(from, first, last, target, to)
  local downwards = target > first and target <= last and rawequal(from, to)
  local offset = target - first
  if getmetatable(from) == nil and getmetatable(to) == nil then
    each_chunk(first, last, downwards, function(a, b)
      c.move(from, a, b, a + offset, to)
    end)
  elseif downwards then
    for index = last, first, -1 do
      to[index + offset] = from[index]
    end
  else
    for index = first, last do
      to[index + offset] = from[index]
    end
  end
end

function bounded.move(from, first, last, target, to)
  first, last = integer(first, 2, "move"), integer(last, 3, "move")
  target = integer(target, 4, "move")
  check_table(from, 1, "move")
  to = to == nil and from or check_table(to, 5, "move")
  if last < first then
    return to
  elseif first <= 0 and last >= MAX_INTEGER + first then
    arguments.fail(3, "move", "too many elements to move")
  elseif target > MAX_INTEGER - (last - first + 1) + 1 then
    arguments.fail(4, "move", "destination wrap around")
  end
  if last - first >= CHUNK then
    tick()
  end
  move_range(from, first, last, target, to)
  return to
end

function bounded.insert(t, ...)
  local count, is_plain = select("#", ...), type(t) == "table" and getmetatable(t) == nil
  if count == 1 and is_plain then
    return c_insert(t, (...))
  end
  local size = length(check_table(t, 1, "insert"))
  if count == 1 then
    t[size + 1] = ...
    return
  elseif count ~= 2 then
    error("wrong number of arguments to 'insert'", 2)
  end
  local position, value = ...
  position = integer(position, 2, "insert")
  if not ult(position - 1, size + 1) then
    arguments.fail(2, "insert", "position out of bounds")
  elseif is_plain and size - position < CHUNK then
    return c_insert(t, position, value)
  elseif position <= size then
    tick()
    move_range(t, position, size, position + 1, t)
  end
  t[position] = value
end

function bounded.remove(t, position)
  if position == nil and type(t) == "table" and getmetatable(t) == nil then
    return c_remove(t)
  end
  local size = length(check_table(t, 1, "remove"))
  position = position == nil and size or integer(position, 2, "remove")
  if position ~= size and ult(size, position - 1) then
    arguments.fail(2, "remove", "position out of bounds")
  elseif getmetatable(t) == nil and size - position < CHUNK then
    return c_remove(t, position)
  end
  local value = t[position]
  if position < size then
    tick()
    move_range(t, position + 1, size, position, t)
    position = size
  end
  t[position] = nil
  return value
end

-- sort -------------------------------------------------------------------------------------------

local function is_less(a, b)
  return a < b
end

-- Gives a comparator that a count hook sees.
local function visible(compare)
  if not compare then
    return is_less
  elseif getinfo(compare, "S").what ~= "C" then
    return compare
  end
  return function(a, b)
    return compare(a, b)
  end
end

-- Sorts a copy and writes it back: a comparator that fails leaves the table as it was.
local function sort_through_metamethods(t, size, compare)
  local values = {}
  for index = 1, size do
    values[index] = t[index]
  end
  local copy = setmetatable(values, {
    __len = function()
      return size
    end,
  })
  c.sort(copy, compare)
  for index = 1, size do
    t[index] = values[index]
  end
end

function bounded.sort(t, compare)
  local size = length(check_table(t, 1, "sort"))
  if size <= 1 then
    return
  elseif size >= MAX_ARRAY then
    arguments.fail(1, "sort", "array too big")
  elseif compare ~= nil and type(compare) ~= "function" then
    arguments.fail(2, "sort", "function expected, got " .. type(compare))
  elseif getmetatable(t) ~= nil then
    return sort_through_metamethods(t, size, visible(compare))
  end
  if size > FREE_SORT then
    tick()
  end
  if size > NATIVE_SORT then
    compare = visible(compare)
  end
  return c.sort(t, compare)
end

return bounded
