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

local bounded, preempt = ...

local real = {
  coroutine = coroutine,
  load = load,
  next = next,
  rawset = rawset,
  select = select,
  setmetatable = setmetatable,
}
local error, pcall, rawequal, rawget, type = error, pcall, rawequal, rawget, type
local metatable_of = debug.getmetatable

-- The compiler is C code, which no hook interrupts, and some sources take it time in proportion to
-- their length squared.
local MAX_SOURCE = 262144 -- bytes that `load` takes
local BYTES_PER_UNIT = 16 -- of source, in what `spend` counts

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

local function raise_again(ok, ...)
  if not ok then
    error((...), 0)
  end
  return ...
end

local function safe_create(f)
  if type(f) ~= "function" then
    error("bad argument #1 to 'create' (function expected)", 2)
  end
  local thread = real.coroutine.create(function(...)
    return raise_again(pcall(f, ...))
  end)
  preempt.arm(thread)
  return thread
end

local function safe_resume(thread, ...)
  return protected(real.coroutine.resume(thread, ...))
end

local function safe_wrap(f)
  local thread = safe_create(f)
  return function(...)
    return raise_again(protected(real.coroutine.resume(thread, ...)))
  end
end

local function safe_close(thread)
  return protected(real.coroutine.close(thread))
end

---------------------------------------------------------------------------------------------------
-- Read-only libraries

local frozen = real.setmetatable({}, { __mode = "k" })

--- Marks a table that looks after itself as one that `rawset` must not touch.
local function protect(t)
  frozen[t] = true
  return t
end

-- Makes a read-only view of the table that is the metatable's `__index`.
local function view_of(metatable, name)
  local view = {}
  frozen[view] = true
  function metatable.__newindex(_, key)
    error(("%s is read-only: cannot set '%s'"):format(name, tostring(key)), 2)
  end
  -- A plain `next, library` would hand out the table itself, for anybody to write to.
  function metatable.__pairs()
    local key
    return function()
      local value
      key, value = real.next(metatable.__index, key)
      return key, value
    end
  end
  metatable.__metatable = false
  return real.setmetatable(view, metatable)
end

--- Returns a read-only view of a library table, called `name` in errors.
local function freeze(library, name)
  if type(library) ~= "table" or frozen[library] then
    return library
  end
  return view_of({ __index = library }, name)
end

--- Returns a read-only view of what `make` gives at the first look into it.
local function freeze_later(make, name)
  local metatable = {}
  local view = view_of(metatable, name)
  local iterate = metatable.__pairs
  local function load_library()
    local library = make()
    metatable.__index, metatable.__pairs = library, iterate
    return library
  end
  function metatable.__index(_, key)
    return load_library()[key]
  end
  function metatable.__pairs()
    load_library()
    return iterate()
  end
  return view
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

local TOO_LONG = ("source is longer than %d KiB"):format(MAX_SOURCE // 1024)

local function collect(reader)
  local pieces, size = {}, 0
  while true do
    local piece = reader()
    if piece == nil or piece == "" then
      return table.concat(pieces)
    end
    if type(piece) ~= "string" then
      return nil, "reader function must return a string"
    end
    size = size + #piece
    if size > MAX_SOURCE then
      return nil, TOO_LONG
    end
    pieces[#pieces + 1] = piece
  end
end

local function safe_load(chunk, name, mode, ...)
  local source, problem = chunk, nil
  if type(chunk) == "function" then
    source, problem = collect(chunk)
  end
  if type(source) ~= "string" then
    return nil, problem or "bad argument #1 to 'load' (string or function expected)"
  end
  if #source > MAX_SOURCE then
    return nil, TOO_LONG
  end
  if mode ~= nil and mode ~= "t" and mode ~= "bt" then
    return nil, "attempt to load a text chunk (mode is '" .. tostring(mode) .. "')"
  end
  local chunk_env = env
  if real.select("#", ...) > 0 then
    chunk_env = ...
  end
  preempt.spend(#source // BYTES_PER_UNIT)
  return real.load(source, name == nil and "=(load)" or name, "t", chunk_env)
end

for _, name in ipairs({
  "assert", "error", "getmetatable", "ipairs", "next", "pairs", "rawequal", "rawget", "rawlen",
  "select", "tostring", "type",
}) do
  env[name] = _G[name]
end

env._G = env
env._VERSION = _VERSION
env.collectgarbage = bounded.collectgarbage
env.load = safe_load
env.pcall = safe_pcall
env.rawset = safe_rawset
env.setmetatable = safe_setmetatable
env.tonumber = bounded.tonumber
env.xpcall = safe_xpcall
env.coroutine = freeze({
  close = safe_close,
  create = safe_create,
  isyieldable = coroutine.isyieldable,
  resume = safe_resume,
  running = coroutine.running,
  status = coroutine.status,
  wrap = safe_wrap,
  yield = coroutine.yield,
}, "coroutine")
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
  protect = protect,
}
