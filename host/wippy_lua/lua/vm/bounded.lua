-- The standard library that scripts get: what a count hook cannot interrupt is bounded.
--
-- Called as chunk(part, tick) in a trusted environment. `part(name, ...)` runs another file of this
-- folder with arguments and gives its results. `tick()` lets others run; it may raise. Gives plain
-- tables `string`, `table`, `utf8`, `math`, `os`, the functions `collectgarbage` and `tonumber`, and
-- `arithmetic`, which makes the metamethods of strings from C's; to make them read-only, and `string` the index of the string
-- metatable, is the caller's business.

local part, tick = ...

local arguments = part("arguments")
local syntax = part("pattern_syntax")
local patterns = part("patterns", syntax, part("pattern_matcher", syntax))

local c_date, c_collectgarbage, c_tonumber = os.date, collectgarbage, tonumber

local MAX_FORMAT = 4096 -- bytes of a date format; C takes up to 1 us for each

local bounded = {
  table = part("bounded_table", arguments, tick),
  math = {},
  os = { clock = os.clock, difftime = os.difftime, time = os.time },
}
bounded.string, bounded.utf8, bounded.arithmetic =
  part("bounded_string", arguments, patterns, tick)

for name, value in next, math do
  bounded.math[name] = value
end

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

function bounded.tonumber(...)
  local numeral = ...
  if type(numeral) == "string" and #numeral > LONG_NUMERAL then
    tick()
  end
  return c_tonumber(...)
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
