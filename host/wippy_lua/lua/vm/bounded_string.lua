-- `string` and `utf8` with bounded time between two looks of a count hook.
--
-- What is cheap goes straight to C. What is linear in a large argument lets others run first, and
-- patterns that C could take too long for, or raise an error for, are matched in Lua. Errors blame
-- the user's line, except where C refuses what a user's function returned to `gsub`.

local arguments, pattern_syntax, patterns, tick = ...

local c = {}
for name, f in next, string do
  c[name] = f
end
local error, math_type, pcall, select, type = error, math.type, pcall, select, type
local text, integer = arguments.string, arguments.integer
local syntax, searched = pattern_syntax.syntax, pattern_syntax.searched
local c_find, c_match, c_gmatch, c_gsub = c.find, c.match, c.gmatch, c.gsub

local LARGE = 65536 -- bytes that C goes through in about 0.1 ms
local MANY = 64 -- arguments
local MAX_RESULT = 256 << 20 -- bytes that `rep` makes
local MAX_TEMPLATE = 1e6 -- bytes of a replacement, times the length of the subject
-- A plain search takes at worst length * (needle + 256) / 32 ns.
local FREE_SEARCH = 3e6
local NATIVE_SEARCH = 3e8

-- Lets others run before C works on large arguments.
local function weigh(first, second, third, ...)
  if
    type(first) == "string" and #first > LARGE
    or type(second) == "string" and #second > LARGE
    or type(third) == "string" and #third > LARGE
  then
    tick()
  end
  local count = select("#", ...)
  if count > MANY then
    tick()
  elseif count > 0 then
    return weigh(...)
  end
end

-- For a function of at most two results.
local function weighed(f, name)
  return function(...)
    weigh(...)
    local ok, value, second = pcall(f, ...)
    if not ok then
      arguments.rethrow(value, name)
    elseif second == nil then
      return value
    end
    return value, second
  end
end

local function finish(name, ok, ...)
  if not ok then
    arguments.rethrow(..., name)
  end
  return ...
end

-- For a function of many results.
local function weighed_many(f, name)
  return function(...)
    weigh(...)
    return finish(name, pcall(f, ...))
  end
end

local function convert(f, name)
  return function(s)
    if type(s) ~= "string" then
      s = text(s, 1, name)
    end
    if #s > LARGE then
      tick()
    end
    return f(s)
  end
end

local bounded = {
  byte = c.byte,
  char = c.char,
  len = c.len,
  sub = c.sub,
  format = weighed(c.format, "format"),
  lower = convert(c.lower, "lower"),
  pack = weighed(c.pack, "pack"),
  packsize = weighed(c.packsize, "packsize"),
  reverse = convert(c.reverse, "reverse"),
  unpack = weighed_many(c.unpack, "unpack"),
  upper = convert(c.upper, "upper"),
}

function bounded.rep(s, n, sep)
  if type(s) ~= "string" then
    s = text(s, 1, "rep")
  end
  if math_type(n) ~= "integer" then
    n = integer(n, 2, "rep")
  end
  if sep ~= nil and type(sep) ~= "string" then
    sep = text(sep, 3, "rep")
  end
  local length = (#s + (sep and #sep or 0)) * (n + 0.0)
  if length <= 0 then
    return ""
  elseif length > MAX_RESULT then
    error("resulting string too large", 2)
  elseif length > LARGE then
    tick()
  end
  return c.rep(s, n, sep)
end

local function find_plain(s, needle, init)
  local effort = #s * (#needle + 256.0)
  if effort > NATIVE_SEARCH then
    return patterns.find_plain(s, needle, init)
  elseif effort > FREE_SEARCH then
    tick()
  end
  return c_find(s, needle, init, true)
end

-- What is known of a pattern says that it is a string, too.
function bounded.find(s, p, init, plain)
  local known = searched[p]
  if not known or type(s) ~= "string" then
    s, p = text(s, 1, "find"), text(p, 2, "find")
  end
  if init ~= nil and math_type(init) ~= "integer" then
    init = integer(init, 3, "find")
  end
  if plain then
    return find_plain(s, p, init)
  end
  known = known or syntax(p)
  if #s > known.free then
    if known.plain then
      return find_plain(s, p, init)
    elseif #s > known.native then
      return patterns.find(s, p, init)
    end
    tick()
  end
  return c_find(s, p, init)
end

function bounded.match(s, p, init)
  local known = searched[p]
  if not known or type(s) ~= "string" then
    s, p = text(s, 1, "match"), text(p, 2, "match")
    known = syntax(p)
  end
  if init ~= nil and math_type(init) ~= "integer" then
    init = integer(init, 3, "match")
  end
  if #s > known.free then
    if #s > known.native then
      return patterns.match(s, p, init)
    end
    tick()
  end
  return c_match(s, p, init)
end

-- Makes an iterator of C that has ended stay so: it would search its subject again and again.
local function ending(iterate)
  local has_ended = false
  local function pass(...)
    has_ended = ... == nil
    return ...
  end
  return function()
    if has_ended then
      return nil
    end
    return pass(iterate())
  end
end

function bounded.gmatch(s, p, init)
  local known = searched[p]
  if not known or known.anchored or type(s) ~= "string" then
    s, p = text(s, 1, "gmatch"), text(p, 2, "gmatch")
    known = syntax(p, true)
  end
  if init ~= nil and math_type(init) ~= "integer" then
    init = integer(init, 3, "gmatch")
  end
  if #s <= known.free then
    return c_gmatch(s, p, init)
  elseif #s > known.native then
    return patterns.gmatch(s, p, init)
  end
  tick()
  return ending(c_gmatch(s, p, init))
end

local REPLACEMENTS = { string = true, number = true, ["function"] = true, table = true }

function bounded.gsub(s, p, repl, most)
  local known = searched[p]
  if not known or type(s) ~= "string" then
    s, p = text(s, 1, "gsub"), text(p, 2, "gsub")
  end
  if most ~= nil and math_type(most) ~= "integer" then
    most = integer(most, 4, "gsub")
  end
  local kind = type(repl)
  if kind == "number" then
    repl = repl .. ""
  elseif not REPLACEMENTS[kind] then
    arguments.fail(3, "gsub", "string/function/table expected, got " .. kind)
  end
  known = known or syntax(p)
  local is_template = kind == "string" and c_find(repl, "%", 1, true)
  if #s > known.native or is_template and #s * (#repl + 0.0) > MAX_TEMPLATE then
    -- C reads a replacement again at each match, even where it stands for nothing.
    return patterns.gsub(s, p, repl, most)
  elseif #s > known.free then
    tick()
  end
  if not is_template then
    return c_gsub(s, p, repl, most)
  end
  local ok, result, count = pcall(c_gsub, s, p, repl, most)
  if not ok then
    arguments.rethrow(result, "gsub")
  end
  return result, count
end

local bounded_utf8 = {
  char = weighed(utf8.char, "char"),
  charpattern = utf8.charpattern,
  codepoint = weighed_many(utf8.codepoint, "codepoint"),
  codes = utf8.codes,
  len = weighed(utf8.len, "len"),
  offset = weighed(utf8.offset, "offset"),
}

return bounded, bounded_utf8
