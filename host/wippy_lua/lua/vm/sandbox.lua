-- The world that a script sees: guarded globals, read-only libraries, and calls that the host can
-- always end. Runs once in each VM, before any script, with the real libraries in reach.
--
-- Rules that everything here follows:
--   * A killed call unwinds completely. `kill` is an error that no pcall or coroutine keeps.
--   * Hooks belong to one thread of Lua each, so every coroutine gets one as it is made. They
--     are off in a message handler and in the `<close>` handlers of a coroutine that died of an
--     error; so xpcall calls its handler after unwinding, and every coroutine body runs inside a
--     pcall of its own.
--   * A finalizer runs where no hook does: `__gc` is refused.

local part, bounded, preempt = ...

local real = { next = next, rawset = rawset, setmetatable = setmetatable }
local error, pcall, rawequal, rawget, type = error, pcall, rawequal, rawget, type
local format, metatable_of, tostring = string.format, debug.getmetatable, tostring

local check, is_final = preempt.check, preempt.is_final

---------------------------------------------------------------------------------------------------
-- Calls that cannot keep a kill

-- Lets an error through that a script may catch. What raised it may have been slow for C code, a
-- memory error after a full collection above all, which a `<close>` handler can turn into another
-- error: so others get their turn at each.
local function let_catch(err)
  if is_final(err) then
    error(err, 0)
  end
  check()
end

local function protected(ok, err, ...)
  if not ok then
    let_catch(err)
  end
  return ok, err, ...
end

local function safe_pcall(f, ...)
  return protected(pcall(f, ...))
end

local function handled(handler, ok, ...)
  if ok then
    return true, ...
  end
  local err = ...
  let_catch(err)
  return false, handler(err)
end

local function safe_xpcall(f, handler, ...)
  return handled(handler, pcall(f, ...))
end

---------------------------------------------------------------------------------------------------
-- Read-only libraries

-- What `rawset` must not touch: views by their names, and objects that look after themselves.
local frozen = real.setmetatable({}, { __mode = "k" })

--- Marks a table that looks after itself as one that `rawset` must not touch.
local function protect(t)
  frozen[t] = true
  return t
end

local function refuse(view, key)
  error(format("%s is read-only: cannot set '%s'", frozen[view], tostring(key)), 2)
end

-- A plain `next, library` would hand out the table itself, for anybody to write to.
local function iterate(view)
  local library, key = metatable_of(view).__index, nil
  return function()
    local value
    key, value = real.next(library, key)
    return key, value
  end
end

local function view_of(metatable, name)
  metatable.__newindex = refuse
  metatable.__metatable = false
  local view = real.setmetatable({}, metatable)
  frozen[view] = name
  return view
end

--- Returns a read-only view of a library table, called `name` in errors.
local function freeze(library, name)
  if type(library) ~= "table" or frozen[library] then
    return library
  end
  return view_of({ __index = library, __pairs = iterate }, name)
end

local function load_library(view)
  local metatable = metatable_of(view)
  local library = metatable.make()
  metatable.make, metatable.__index, metatable.__pairs = nil, library, iterate
  return library
end

local function index_later(view, key)
  return load_library(view)[key]
end

local function iterate_later(view)
  load_library(view)
  return iterate(view)
end

--- Returns a read-only view of what `make` gives at the first look into it.
local function freeze_later(make, name)
  return view_of({ __index = index_later, __pairs = iterate_later, make = make }, name)
end

local function safe_rawset(t, key, value)
  if frozen[t] then
    error("the table is read-only", 2)
  end
  return real.rawset(t, key, value)
end

local MAX_CALLS = 8 -- `__call` metamethods that are not functions, one behind the other

-- To call a ring of these takes C for ever. One that is closed by an assignment is beyond us.
local function is_long_chain(t, callable)
  for _ = 1, MAX_CALLS do
    if type(callable) ~= "table" then
      return false
    elseif rawequal(callable, t) then
      return true
    end
    local metatable = metatable_of(callable)
    callable = metatable and rawget(metatable, "__call")
  end
  return true
end

local function safe_setmetatable(t, metatable)
  if type(metatable) == "table" then
    if rawget(metatable, "__gc") ~= nil then
      error("__gc is not allowed: finalizers run where nothing can stop them", 2)
    end
    if is_long_chain(t, rawget(metatable, "__call")) then
      error("__call is not allowed: a chain of callable tables without an end", 2)
    end
  end
  return real.setmetatable(t, metatable)
end

---------------------------------------------------------------------------------------------------
-- The environment

local env = {}

for _, name in ipairs({
  "assert", "error", "getmetatable", "ipairs", "next", "pairs", "rawequal", "rawget", "rawlen",
  "select", "tostring", "type",
}) do
  env[name] = _G[name]
end

env._G = env
env._VERSION = _VERSION
env.collectgarbage = bounded.collectgarbage

local safe_load

function env.load(...)
  safe_load = safe_load or part("load", preempt, env)
  return safe_load(...)
end

env.pcall = safe_pcall
env.rawset = safe_rawset
env.setmetatable = safe_setmetatable
env.tonumber = bounded.tonumber
env.xpcall = safe_xpcall
env.coroutine = freeze_later(function()
  return part("coroutines", preempt, protected)
end, "coroutine")
env.math = freeze(bounded.math, "math")
env.os = freeze(bounded.os, "os")
for name, load_library in next, bounded.loaders do
  env[name] = freeze_later(load_library, name)
end

local string_metatable = debug.getmetatable("")
function string_metatable.__index(_, key)
  string_metatable.__index = bounded.loaders.string()
  return string_metatable.__index[key]
end
string_metatable.__metatable = false
for name, operate in real.next, bounded.arithmetic(string_metatable) do
  string_metatable[name] = operate
end

return {
  env = env,
  freeze = freeze,
  freeze_later = freeze_later,
  protect = protect,
}
