-- Checks of arguments for the functions that stand in for C ones, with the same error messages.
--
-- Every check is called directly by the function that users call: the error blames its caller.

local math_type, tointeger, getinfo = math.type, math.tointeger, debug.getinfo
local match = string.match

-- How the messages of C functions begin.
local WORDS = {}
local words = "bad date initial integral invalid missing modifiers specifier string"
for word in string.gmatch(words, "%l+") do
  WORDS[word] = true
end

local arguments = {}

-- Levels here: 1 this function, 2 a check, 3 the function whose argument is bad, 4 its caller.
local function bad(arg, name, problem)
  local call = getinfo(3, "n")
  name = call and call.name or name
  if call and call.namewhat == "method" then -- self does not count
    arg = arg - 1
    if arg == 0 then
      error("calling '" .. name .. "' on bad self (" .. problem .. ")", 4)
    end
  end
  error("bad argument #" .. arg .. " to '" .. name .. "' (" .. problem .. ")", 4)
end

function arguments.fail(arg, name, problem)
  bad(arg, name, problem)
end

-- Gives a string or a number as a string.
function arguments.string(value, arg, name)
  local kind = type(value)
  if kind == "string" then
    return value
  elseif kind ~= "number" then
    bad(arg, name, "string expected, got " .. kind)
  end
  return value .. ""
end

-- Gives an integer, or what converts to one exactly, as an integer.
function arguments.integer(value, arg, name)
  if math_type(value) == "integer" then
    return value
  end
  local whole = tointeger(value)
  if not whole and tonumber(value) then
    bad(arg, name, "number has no integer representation")
  elseif not whole then
    bad(arg, name, "number expected, got " .. type(value))
  end
  return whole
end

function arguments.table(value, arg, name)
  if type(value) ~= "table" then
    bad(arg, name, "table expected, got " .. type(value))
  end
  return value
end

-- Raises again what `pcall` caught from a C function, as if the user had called that. What a
-- metamethod raised stays as it is, and so does an error of the VM's own.
function arguments.rethrow(problem, name)
  if type(problem) ~= "string" or not WORDS[match(problem, "^(%l+) ")] then
    error(problem, 0)
  end
  local arg, what = match(problem, "^bad argument #(%d+) to '[^']*' %((.*)%)$")
  if arg then
    bad(tointeger(arg), name, what)
  end
  error(problem, 3)
end

return arguments
