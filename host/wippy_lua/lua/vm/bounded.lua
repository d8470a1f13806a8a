-- The standard library that scripts get: what a count hook cannot interrupt is bounded.
--
-- Called as chunk(part, later, tick) in a trusted environment. `part(name, ...)` runs another file of
-- this folder with arguments and gives its results, `later(make)` what `make` gives at the first look.
-- `tick()` lets others run; it may raise. Gives plain tables `math` and `os`, the functions
-- `collectgarbage` and `tonumber`, `arithmetic`, which makes the metamethods of strings from C's, and
-- `loaders` that make the tables `string`, `table` and `utf8`; to make them read-only, and `string` the
-- index of the string metatable, is the caller's business.

local part, later, tick = ...

local c_date, c_collectgarbage, c_tonumber = os.date, collectgarbage, tonumber

local MAX_FORMAT = 4096 -- bytes of a date format; C takes up to 1 us for each

local arguments = later(function()
  return part("arguments")
end)

local strings, utf8s -- both made by one chunk

local function load_strings()
  if not strings then
    local syntax = part("pattern_syntax")
    local patterns = later(function()
      return part("patterns", syntax, part("pattern_matcher", syntax))
    end)
    strings, utf8s = part("bounded_string", arguments, syntax, patterns, tick)
  end
  return strings, utf8s
end

-- Each is made when a script first looks into it, see later.lua.
local loaders = {
  string = function()
    return (load_strings())
  end,
  table = function()
    return part("bounded_table", arguments, tick)
  end,
  utf8 = function()
    local _, made = load_strings()
    return made
  end,
}

local bounded = {
  loaders = loaders,
  math = math,
  os = { clock = os.clock, difftime = os.difftime, time = os.time },
}

function bounded.os.date(format, time)
  if format ~= nil then
    format = arguments.string(format, 1, "date")
    if #format > MAX_FORMAT then
      arguments.fail(1, "date", "format too long")
    elseif #format > MAX_FORMAT // 16 then
      tick()
    end
  end
  local ok, result = pcall(c_date, format, time)
  if not ok then
    arguments.rethrow(result, "date")
  end
  return result
end

-- C reads some 0.1 us of each 100 bytes, and of a numeral in another base ten times that.
local LONG_NUMERAL = 65536

local function is_long(value)
  return type(value) == "string" and #value > LONG_NUMERAL
end

function bounded.tonumber(...)
  if is_long((...)) then
    tick()
  end
  return c_tonumber(...)
end

-- Arithmetic on strings reads them as numbers, however long they are.
local ARITHMETIC = { "__add", "__sub", "__mul", "__mod", "__pow", "__div", "__idiv", "__unm" }

--- Gives the metamethods of the string metatable, made of its own.
function bounded.arithmetic(metatable)
  local operators = {}
  for _, name in ipairs(ARITHMETIC) do
    local operate = metatable[name]
    operators[name] = function(a, b)
      if is_long(a) or is_long(b) then
        tick()
      end
      return operate(a, b)
    end
  end
  return operators
end

-- Tells the memory in use, in KiB. A collection is only a wish: it would stop everybody.
function bounded.collectgarbage(option)
  option = option == nil and "collect" or arguments.string(option, 1, "collectgarbage")
  if option == "count" then
    return c_collectgarbage("count")
  elseif option ~= "collect" and option ~= "step" then
    arguments.fail(1, "collectgarbage", "invalid option '" .. option .. "'")
  end
  tick()
  return 0
end

return bounded
