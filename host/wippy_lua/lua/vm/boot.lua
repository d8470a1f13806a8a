-- The VM's side of a call: runs the handler, and turns what it returned into plain values for the
-- host. The rest of the VM is put together here from its parts.

local part, preempt, sandbox, codec, native = ...

local error, pcall, rawequal, sub = error, pcall, rawequal, string.sub
local tostring, traceback, type, xpcall = tostring, debug.traceback, type, xpcall

local env = sandbox.env
local arm, disarm, is_killed, reset = preempt.arm, preempt.disarm, preempt.killed, preempt.reset
local load = load

-- How a body is written; the host has the same values.
local TEXT, JSON = 0, 1 -- anything else is MessagePack

local vm = part("tools", preempt, sandbox, codec, part("later"))
part("objects", vm)
local wrap = part("host", preempt, codec, native, vm)
local modules = part("modules", sandbox, native, vm, wrap)

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
local pending -- what to do once the program's chunk has returned, nil when it has

--- Runs `action` when the program has returned its exports: now, or after its chunk.
function vm.when_loaded(action)
  if pending then
    pending[#pending + 1] = action
    return true
  end
  return action()
end

--- Finds the module ("" for the program itself) and the name under which a function is exported.
function vm.export_of(fn)
  return modules.export_of(main, fn)
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

local MAX_TEXT = 8192 -- bytes of an error's message and of its stack that reach the host
local MAX_DETAILS = 65536 -- packed; larger ones stay behind

local function pack_details(details)
  local packed = details ~= nil and codec.msgpack_encode(details) or nil
  return packed and #packed <= MAX_DETAILS and packed or nil
end

-- By an error's facts, not by its methods, which a script can replace.
local function describe(err)
  local text = sub(vm.text(err), 1, MAX_TEXT)
  local facts = vm.facts(err)
  if not facts then
    return text, "", nil, sub(stack, 1, MAX_TEXT)
  end
  return text, facts.kind, facts.retryable, sub(facts.stack, 1, MAX_TEXT), pack_details(facts.details)
end

-- Describing an error may run the script's own `__tostring`.
local function report(err)
  arm()
  local ok, text, kind, retryable, own_stack, details = pcall(describe, err)
  disarm()
  if is_killed() then
    return "killed"
  elseif not ok then
    if text == preempt.MEMORY then
      return "memory"
    end
    return "error", "the error could not be shown: its __tostring failed"
  end
  return "error", text, kind, retryable, own_stack, details
end

local function raised(err)
  if is_killed() then
    return "killed"
  elseif err == preempt.MEMORY then
    return "memory"
  end
  return report(err)
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
      return report(second)
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

local function result(ok, ...)
  if ok ~= true then
    return ok, ...
  end
  local packed, problem = codec.msgpack_encode((...))
  if packed or (...) == nil then
    return true, packed
  end
  return "error", "the result cannot be passed on: " .. problem, "Invalid", false
end

local function start_call(lifted)
  if lifted then
    native.limit_memory()
  end
  reset()
  serial = serial + 1
  stack = ""
end

local function null_to_nil(value)
  if value ~= codec.null then
    return value
  end
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

local function read_arguments(bytes)
  local arguments, problem = codec.msgpack_decode(bytes)
  if problem then
    error(vm.error("the arguments do not decode: " .. problem, "Invalid", false), 0)
  end
  local count = #arguments
  for i = 1, count do
    arguments[i] = null_to_nil(arguments[i])
  end
  return table.unpack(arguments, 1, count)
end

local function call_with(ok, ...)
  if not ok then
    return raised((...))
  end
  arm()
  return result(outcome(xpcall(handler, trace, ...)))
end

--- Calls the handler with packed arguments and packs its first result.
local function call(lifted, bytes)
  start_call(lifted)
  return call_with(pcall(read_arguments, bytes))
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
  return err
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

local function run_pending()
  local actions = pending
  pending = nil
  for _, action in ipairs(actions) do
    local ok, err = action()
    if not ok then
      error(err, 0)
    end
  end
end

local function load_and_run(source, chunk_name, ...)
  pending = {}
  local err = load_main(source, chunk_name, ...)
  run_pending()
  if type(main) == "table" then
    if type(main.main) == "function" then
      return main.main(...)
    end
  elseif type(main) ~= "function" then
    return main, err
  end
end

--- Runs a program: its chunk, then the `main` of the table that it returned, if there is one.
local function run(source, chunk_name, ...)
  start_call(true)
  arm()
  return result(outcome(xpcall(load_and_run, trace, source, chunk_name, ...)))
end

-- lupa looks up `debug.traceback` before every call; without it a call is cheaper, and an error's
-- stack is ours to take. The string is kept alive: making it anew at a full memory limit would
-- end the process (no protected call is there to catch it).
local DEBUG = "debug"
_G[DEBUG] = nil

return {
  DEBUG = DEBUG,
  call = call,
  handle = handle,
  load = load_handler,
  run = run,
}
