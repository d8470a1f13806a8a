-- What a pattern of Lua 5.4 means and what it costs to match, without matching it.
--
-- A pattern is parsed to a list of items, which are annotated from right to left:
--   * `first`: the bytes that what follows the item must start with; nil when anything may follow;
--   * `apart`: for a repeated class, that it shares no byte with `first`, so that backtracking
--     gains nothing.
-- The same pass adds up the steps that the C matcher takes at worst.

local byte, char, sub = string.byte, string.char, string.sub
local c_find, c_gmatch = string.find, string.gmatch
local concat = table.concat
local max, min = math.max, math.min

local MAX_CAPTURES = 32
local MAX_CLASS = 65536 -- bytes of one [set]
local MAX_TEXT = 256 -- bytes of plain text in one item, and of a key worth remembering
local CACHED = 100 -- patterns, and sets of bytes
local C_NESTING = 200 -- items that call the C matcher again, when it raises an error
local MAX_TERMS = 16 -- of a cost; with more, C gets only subjects of a byte or two anyway
local NATIVE_STEPS = 4e6 -- what C may take in one call: some 10 ms
local FREE_STEPS = 4e4 -- what a call may take without letting others run

-- Remembers what `make(key, ...)` gives; forgets everything when it holds too much. Gives the table
-- as well, in which a key that is there is found without a call.
local function remember(make)
  local known, count = {}, 0
  return function(key, ...)
    local value = known[key]
    if value == nil then
      value = make(key, ...)
      if #key <= MAX_TEXT then
        if count >= CACHED then
          for old in next, known do
            known[old] = nil
          end
          count = 0
        end
        known[key], count = value, count + 1
      end
    end
    return value
  end, known
end

-- Sets of bytes ----------------------------------------------------------------------------------
-- A set has the `bytes` that belong to it, their number `size`, a `key` that names it, and
-- `at_end`: whether the end of the subject belongs too.

local ALL = {}
for b = 0, 255 do
  ALL[b + 1] = char(b)
end
ALL = concat(ALL)

local END = { bytes = {}, size = 0, key = "$", at_end = true }

-- Makes the set of one pattern class: "a", ".", "%a" or "[...]". C itself says what belongs.
local class = remember(function(text)
  local bytes, size = {}, 0
  if #text <= MAX_TEXT then
    for c in c_gmatch(ALL, text) do
      bytes[byte(c)], size = true, size + 1
    end
  else
    for b = 0, 255 do
      if c_find(char(b), text) then
        bytes[b], size = true, size + 1
      end
    end
  end
  return { bytes = bytes, size = size, key = text, at_end = false, text = text }
end)

local function literal_class(c)
  return class(c_find(c, "^%w") and c or "%" .. c)
end

local function is_subset(a, b)
  for value in next, a.bytes do
    if not b.bytes[value] then
      return false
    end
  end
  return true
end

local function are_apart(a, b)
  for value in next, a.bytes do
    if b.bytes[value] then
      return false
    end
  end
  return true
end

local unite = remember(function(key, a, b)
  local bytes, size = {}, 0
  for value = 0, 255 do
    if a.bytes[value] or b.bytes[value] then
      bytes[value], size = true, size + 1
    end
  end
  return { bytes = bytes, size = size, key = key, at_end = a.at_end or b.at_end }
end)

-- Gives the union of a class with what follows it; nil when anything may follow.
local function union(a, b)
  if not b or is_subset(a, b) then
    return b
  end
  return unite("(" .. a.key .. "|" .. b.key .. ")", a, b)
end

-- Writes a set as a pattern class of at most some 150 bytes, whatever it was written as.
local function spell(set)
  local negated = set.size > 128
  local parts, b = { negated and "[^" or "[" }, 0
  while b <= 255 do
    if (set.bytes[b] or false) ~= negated then
      local stop = b
      -- Punctuation means something in a class, so that it never joins a range.
      if not c_find(char(b), "%p") then
        while stop < 255 and (set.bytes[stop + 1] or false) ~= negated
          and not c_find(char(stop + 1), "%p") do
          stop = stop + 1
        end
      end
      parts[#parts + 1] = c_find(char(b), "%w") and char(b) or "%" .. char(b)
      if stop > b then
        parts[#parts] = char(b) .. "-" .. char(stop)
      end
      b = stop
    end
    b = b + 1
  end
  return set.size == 256 and "." or concat(parts) .. "]"
end

-- Parsing ----------------------------------------------------------------------------------------
-- C notices what is wrong with a pattern only when a match gets there, so a fault becomes an item
-- that raises, and parsing ends with it.

local QUANTIFIERS = { ["*"] = "star", ["+"] = "plus", ["-"] = "lazy", ["?"] = "option" }

local function set_end(p, i)
  i = i + (sub(p, i + 1, i + 1) == "^" and 2 or 1)
  repeat
    local c = sub(p, i, i)
    if c == "" then
      return nil, "malformed pattern (missing ']')"
    end
    i = i + ((c == "%" and i < #p) and 2 or 1)
  until sub(p, i, i) == "]"
  return i + 1
end

-- Gives the position after the class that starts at i, or nil and what is wrong.
local function class_end(p, i)
  local c = sub(p, i, i)
  if c == "%" then
    if i == #p then
      return nil, "malformed pattern (ends with '%')"
    end
    return i + 2
  elseif c ~= "[" then
    return i + 1
  end
  local stop, problem = set_end(p, i)
  if stop and stop - i > MAX_CLASS then
    return nil, "pattern too complex"
  end
  return stop, problem
end

local function parse_class(p, i)
  local stop, problem = class_end(p, i)
  if not stop then
    return { op = "fault", problem = problem }
  end
  local text = sub(p, i, stop - 1)
  local set = (#text > 1 or text == ".") and class(text) or literal_class(text)
  local op = QUANTIFIERS[sub(p, stop, stop)]
  if op then
    return { op = op, class = set }, stop + 1
  end
  return { op = "single", class = set }, stop
end

local function parse_open(p, i, captures)
  if #captures == MAX_CAPTURES then
    return { op = "fault", problem = "too many captures" }
  end
  local is_position = sub(p, i + 1, i + 1) == ")"
  captures[#captures + 1] = is_position and "position" or "open"
  return { op = "mark", slot = 2 * #captures - 1 }, i + (is_position and 2 or 1)
end

local function parse_close(_, i, captures)
  for index = #captures, 1, -1 do
    if captures[index] == "open" then
      captures[index] = "closed"
      return { op = "mark", slot = 2 * index }, i + 1
    end
  end
  return { op = "fault", problem = "invalid pattern capture" }
end

local function parse_balance(p, i)
  if i + 3 > #p then
    return { op = "fault", problem = "malformed pattern (missing arguments to '%b')" }
  end
  local open, close = sub(p, i + 2, i + 2), sub(p, i + 3, i + 3)
  local a, b = literal_class(open), literal_class(close)
  return { op = "balance", class = a, both = union(a, b), close = byte(close) }, i + 4
end

local function parse_frontier(p, i)
  if sub(p, i + 2, i + 2) ~= "[" then
    return { op = "fault", problem = "missing '[' after '%f' in pattern" }
  end
  local stop, problem = class_end(p, i + 2)
  if not stop then
    return { op = "fault", problem = problem }
  end
  return { op = "frontier", class = class(sub(p, i + 2, stop - 1)) }, stop
end

local function parse_back_reference(p, i, captures)
  local index = byte(p, i + 1) - 48
  local kind = captures[index]
  if not kind or kind == "open" then
    return { op = "fault", problem = "invalid capture index %" .. index }
  end
  captures.referenced = true
  return { op = "back", slot = 2 * index - 1, is_position = kind == "position" }, i + 2
end

local function parse_item(p, i, captures)
  local _, length = c_find(sub(p, i, i + MAX_TEXT - 1), "^[^%^%$%*%+%?%.%(%)%[%%%-]+")
  if length then -- plain text; its last byte may be repeated
    local stop = i + length - 1
    if QUANTIFIERS[sub(p, stop + 1, stop + 1)] then
      stop = stop - 1
    end
    if stop > i then
      return { op = "text", text = sub(p, i, stop) }, stop + 1
    end
    return parse_class(p, i)
  end
  local c, following = sub(p, i, i), sub(p, i + 1, i + 1)
  if c == "(" then
    return parse_open(p, i, captures)
  elseif c == ")" then
    return parse_close(p, i, captures)
  elseif c == "$" and i == #p then
    return { op = "finish" }, i + 1
  elseif c == "%" and following == "b" then
    return parse_balance(p, i)
  elseif c == "%" and following == "f" then
    return parse_frontier(p, i)
  elseif c == "%" and c_find(following, "^%d") then
    return parse_back_reference(p, i, captures)
  end
  return parse_class(p, i)
end

-- Gives the items of the pattern from position i on, and the kinds of its captures.
local function parse(p, i)
  local items, captures, item = {}, {}, nil
  while i and i <= #p do
    item, i = parse_item(p, i, captures)
    items[#items + 1] = item
  end
  return items, captures
end

-- Annotation -------------------------------------------------------------------------------------
-- A cost is a polynomial of the subject's length: cost[k] steps times length^(k-1).

local function plus(a, b)
  local sum = {}
  for k = 1, max(#a, #b) do
    sum[k] = (a[k] or 0) + (b[k] or 0)
  end
  return sum
end

local function times_length(a, factor)
  local product = { 0 }
  for k = 1, #a do
    local degree = min(k + 1, MAX_TERMS)
    product[degree] = (product[degree] or 0) + a[k] * factor
  end
  return product
end

local function evaluate(cost, length)
  local steps = 0.0 -- a float cannot overflow
  for k = #cost, 1, -1 do
    steps = steps * length + cost[k]
  end
  return steps
end

-- What follows an item, `rest`, and with the item before it:
--   first   the set that a match must start with; nil when it may be empty, or anything
--   always  matches wherever it is tried;  ends  matches at the end of the subject
--   try     cost at one position;  fail  the same when there is no match
local NOTHING = { first = nil, always = true, ends = true, try = { 1 }, fail = { 0 } }

-- A class that is matched once.
local function once(set, rest, weight)
  return {
    first = set,
    always = false,
    ends = false,
    try = plus({ weight }, rest.try),
    fail = plus({ weight }, rest.fail),
  }
end

local function optional(item, rest, weight)
  local retry = item.apart and { 1 } or rest.fail
  return {
    first = union(item.class, rest.first),
    always = rest.always,
    ends = rest.ends,
    try = plus({ weight }, plus(retry, rest.try)),
    fail = rest.always and { 0 } or plus({ weight }, plus(retry, rest.fail)),
  }
end

-- Any number of a class, greedy or lazy. Where `rest` cannot fail there is no backtracking.
local function repeated(item, rest, weight)
  local set = item.class
  local settles = rest.always or set.size == 256 and rest.ends
  local span = { 0, weight }
  local retries = times_length(item.apart and { 1 } or rest.fail, 1)
  local try = rest.try
  if item.op ~= "lazy" then
    try = plus(span, try)
  end
  if not rest.always and (item.op == "lazy" or not settles) then
    try = plus(plus(span, retries), try)
  end
  return {
    first = union(set, rest.first),
    always = settles,
    ends = rest.ends,
    try = try,
    fail = settles and { 0 } or plus(plus(span, retries), rest.fail),
  }
end

local function annotate(item, rest)
  local op, set = item.op, item.class
  item.first = rest.first
  if op == "mark" then
    return rest
  elseif op == "text" then
    return once(literal_class(sub(item.text, 1, 1)), rest, #item.text)
  elseif op == "fault" then
    return { always = false, ends = false, try = { 1 }, fail = { 1 } }
  elseif op == "finish" then
    return { first = END, always = false, ends = true, try = { 1 }, fail = { 1 } }
  elseif op == "back" or op == "balance" then
    local cost = { 0, 1 }
    return {
      first = set,
      always = false,
      ends = false,
      try = plus(cost, rest.try),
      fail = plus(cost, rest.fail),
    }
  end
  local weight = max(1, #set.text // 2) -- steps that C takes to test one byte
  if op == "single" then
    return once(set, rest, weight)
  elseif op == "frontier" then
    return once(set.bytes[0] and unite(set.key .. "$", set, END) or set, rest, 2 * weight)
  end
  item.apart = rest.first and are_apart(set, rest.first)
  if op == "option" then
    return optional(item, rest, weight)
  elseif op == "plus" then
    return once(set, repeated(item, rest, weight), weight)
  end
  return repeated(item, rest, weight)
end

-- Gives the steps that C takes at worst to go through a subject: a polynomial of its length.
local function total_cost(whole, anchored)
  if anchored then
    return plus(whole.try, whole.fail)
  end
  -- A failing attempt looks at half of the subject on average. Where failing is cheap, the steps
  -- of a match go into the bytes that it consumes, so that many matches cost as much as one.
  local searching = plus(times_length(whole.fail, 0.5), { 0, 2 })
  if #whole.fail > 1 then
    return plus(searching, times_length(whole.try, 0.5))
  end
  return plus(searching, whole.try)
end

-- Gives the greatest length whose cost is at most `steps`.
local function longest(cost, steps)
  local low, high = 0, 1 << 40
  while low < high do
    local middle = (low + high + 1) // 2
    if evaluate(cost, middle) <= steps then
      low = middle
    else
      high = middle - 1
    end
  end
  return low
end

local NESTED = { mark = 1, star = 1, plus = 1, lazy = 1, option = 1 }

-- Tells whether C may raise an error that only shows at some subject.
local function may_fail(items, captures)
  local nested = 0
  for index = 1, #items do
    nested = nested + (NESTED[items[index].op] or 0)
  end
  local fails = #items > 0 and items[#items].op == "fault" or nested >= C_NESTING
  for index = 1, #captures do
    fails = fails or captures[index] == "open"
  end
  return fails
end

local function analyse(p, is_literal)
  local anchored = not is_literal and sub(p, 1, 1) == "^"
  local items, captures = parse(p, anchored and 2 or 1)
  local rest = NOTHING
  for index = #items, 1, -1 do
    rest = annotate(items[index], rest)
  end
  local cost = total_cost(rest, anchored)
  local is_risky = may_fail(items, captures)
  return {
    items = items,
    captures = captures,
    anchored = anchored,
    first = rest.first,
    cost = cost,
    free = is_risky and -1 or longest(cost, FREE_STEPS),
    native = is_risky and -1 or longest(cost, NATIVE_STEPS),
    plain = not c_find(p, "[%^%$%*%+%?%.%(%[%%%-]"),
  }
end

local search_syntax, searched = remember(function(p)
  return analyse(p, false)
end)
local gmatch_syntax = remember(function(p)
  return analyse(p, true)
end)

-- Gives what is known of a pattern: `items`, `captures` (kinds), `anchored`, `first`, `plain` (no
-- special characters), and the lengths of subjects up to which C may match it: `free` without
-- further ado, `native` at all; negative when C might raise an error. `gmatch` takes a leading "^"
-- literally. `searched` holds what this gave lately for anything else.
local function syntax(p, is_gmatch)
  if is_gmatch and byte(p) == 94 then
    return gmatch_syntax(p)
  end
  return search_syntax(p)
end

-- Gives the steps that C takes at worst on a subject of this length.
local function cost(p, length)
  return evaluate(syntax(p).cost, length)
end

return { syntax = syntax, searched = searched, cost = cost, spell = spell }
