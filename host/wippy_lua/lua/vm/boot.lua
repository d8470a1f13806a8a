-- The VM's side of a call: runs the handler, and turns what it returned into plain values for the
-- host. The rest of the VM is put together here from its parts.

local part, later, preempt, sandbox, codec, native = ...

local error, pcall, rawequal, sub = error, pcall, rawequal, string.sub
local tostring, traceback, type, xpcall = tostring, debug.traceback, type, xpcall

local env = sandbox.env
local arm, disarm, is_killed, reset = preempt.arm, preempt.disarm, preempt.killed, preempt.reset
local load = load

-- Begin a collection at half as much garbage as there is in use. Lua by itself waits for as much, which
-- is 45 KB more in each VM that is used for long, and spares 1 % of the instructions of a 2 KB message.
collectgarbage("incremental", 150)

-- How a body is written; the host has the same values.
local TEXT, JSON = 0, 1 -- anything else is MessagePack

local vm = part("tools", part, preempt, sandbox, codec, later)
local wrap = part("host", preempt, codec, native, vm)
local modules = part("modules", part, sandbox, native, vm, wrap)

---------------------------------------------------------------------------------------------------
-- The call in progress

local body -- its decoded body

--- Tells whether `value` is the table that the handler was given.
function vm.is_body(value)
  return body ~= nil and rawequal(body, value)
end

local serial = 0 -- of the call in progress

--- Returns a number that no other call of this VM has.
function vm.serial()
  return serial
end

local main -- what the source's chunk returned

--- Runs `action` when the program has returned its exports, which it has unless program.lua says.
function vm.when_loaded(action)
  return action()
end

--- Finds the module ("" for the program itself) and the name under which a function is exported.
function vm.export_of(fn)
  return part("exports", modules.loaded, modules.scripts)(main, fn)
end

local MAX_PRINT = 65536 -- bytes of a line
local print_line = wrap(native.print)

--- Writes its arguments to the log, as one line of level info.
function env.print(...)
  local parts = table.pack(...)
  for i = 1, parts.n do
    parts[i] = tostring(parts[i])
  end
  print_line(sub(table.concat(parts, "\t"), 1, MAX_PRINT), vm.caller(2))
end

---------------------------------------------------------------------------------------------------
-- Outcome

local handler
local stack = "" -- of the last error raised

local function trace(err)
  stack = preempt.is_final(err) and "" or traceback("", 2)
  return err
end

local failure = later(function()
  return part("failure", preempt, codec, vm)
end)

local function raised(err)
  if is_killed() then
    return "killed"
  elseif err == preempt.MEMORY then
    return "memory"
  end
  return failure.report(err, stack)
end

-- A handler failed when it raised, when its first result is nil or false and the second is not,
-- when the second is an error object, and when it returned just false.
local function has_failed(first, second)
  if second ~= nil then
    return vm.facts(second) or (not first and second)
  end
  return first == false
end

--- Tells by what a function of the app returned whether it failed, as a handler does.
vm.has_failed = has_failed

local function outcome(ok, first, second)
  disarm()
  body = nil
  if not ok then
    return raised(first)
  elseif is_killed() then
    return "killed"
  elseif has_failed(first, second) then
    stack = ""
    if second then
      return failure.report(second, stack)
    end
    return "error", "the handler returned false"
  end
  return true, first
end

-- Keeps what a handler returned in the VM: the host would hold a reference to a table.
local function verdict(ok, first, second)
  if ok and second == nil and first ~= false then -- what most calls come to
    disarm()
    body = nil
    if is_killed() then
      return "killed"
    end
    return true
  end
  local status, message, kind, retryable, trace_back, details = outcome(ok, first, second)
  if status == true then
    return true
  end
  return status, message, kind, retryable, trace_back, details
end

local function start_call(lifted)
  if lifted then
    native.limit_memory()
  end
  reset()
  serial = serial + 1
  stack = ""
end

--- Calls the handler with one body and tells only how it ended.
local function handle(lifted, kind, value)
  start_call(lifted)
  if kind ~= TEXT then
    local ok, problem
    ok, value, problem = pcall(kind == JSON and codec.json_decode or codec.msgpack_decode, value)
    if not ok then
      return raised(value)
    elseif problem then
      return "undecodable", problem
    end
    body = type(value) == "table" and value or nil
  end
  arm()
  return verdict(xpcall(handler, trace, value))
end

---------------------------------------------------------------------------------------------------
-- Loading

local function pick(module, method)
  if type(module) == "function" then
    return module
  elseif type(module) == "table" then
    local found = module[method]
    if type(found) == "function" then
      return found
    end
    error(("the module has no function '%s'"):format(method), 0)
  end
  error(("the source must return a function or a table of functions, not %s"):format(type(module)), 0)
end

local function load_main(source, chunk_name, ...)
  local chunk, problem = load(source, chunk_name, "t", env)
  if not chunk then
    error(problem, 0)
  end
  local err
  main, err = chunk(...)
  return main, err
end

local function load_and_pick(source, chunk_name, method)
  load_main(source, chunk_name)
  handler = pick(main, method)
  collectgarbage() -- once for many calls: what loading left behind is a tenth of a small VM
end

--- Runs the function's source and finds its handler; ends as a call does.
local function load_handler(source, chunk_name, method)
  start_call(true)
  arm()
  return verdict(xpcall(load_and_pick, trace, source, chunk_name, method))
end

---------------------------------------------------------------------------------------------------
-- What most VMs never do is loaded when it is asked for

-- Runs the handler, or another function, with values.
local function run(fn, ...)
  arm()
  return outcome(xpcall(fn or handler, trace, ...))
end

local calls = later(function()
  return part("call", codec, vm, start_call, run, raised)
end)
local programs = later(function()
  return part("program", vm, start_call, run, load_main, calls)
end)

-- lupa looks up `debug.traceback` before every call; without it a call is cheaper, and an error's
-- stack is ours to take. The string is kept alive: making it anew at a full memory limit would
-- end the process (no protected call is there to catch it).
local DEBUG = "debug"
_G[DEBUG] = nil

return {
  DEBUG = DEBUG,
  call = function(...)
    return calls.call(...)
  end,
  handle = handle,
  load = load_handler,
  run = function(...)
    return programs.run(...)
  end,
}
