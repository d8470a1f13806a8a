-- The VM's side of a call: loads modules, runs the handler, and turns what it returned into plain
-- values for the host. The rest of the VM is put together here from its parts.

local preempt, sandbox, codec, native = ...

local error, getinfo, pcall, rawequal, select = error, debug.getinfo, pcall, rawequal, select
local sub, tostring, traceback, type, xpcall = string.sub, tostring, debug.traceback, type, xpcall

local env, freeze = sandbox.env, sandbox.freeze
local pack, unpack = codec.msgpack_encode, codec.msgpack_decode
local arm, check, disarm = preempt.arm, preempt.check, preempt.disarm
local is_killed, reset, unhooked = preempt.killed, preempt.reset, preempt.unhooked
local json_decode = codec.json_decode
local load = load

-- How a body is written; the host's `Body` has the same values.
local TEXT, JSON = 0, 1 -- anything else is MessagePack

-- What a host function's first result says; the host's `Status` has the same values. "Lifted" is
-- after a result so large that the memory limit was taken off to push it.
local OK, ERROR, OK_LIFTED, ERROR_LIFTED, KILLED = true, 1, 2, 3, 4

local vm = {} -- what the modules of the standard library get as their second argument

---------------------------------------------------------------------------------------------------
-- Host functions

local errors -- the `errors` module, once it is loaded

local function failed(message, kind, retryable, details)
  return nil, vm.error(message, kind, retryable, details and unpack(details))
end

local function finish(status, ...)
  if status == OK then
    return ...
  elseif status == OK_LIFTED then
    native.limit_memory()
    return ...
  elseif status == ERROR then
    return failed(...)
  elseif status == ERROR_LIFTED then
    native.limit_memory()
    return failed(...)
  end
  return preempt.kill()
end

local PLAIN = { ["nil"] = true, boolean = true, number = true, string = true }
local MAX_ARGUMENTS = 8 -- each a copy in the host, and one string can be meant by a thousand

local function check_plain(left, value, ...)
  if not PLAIN[type(value)] then
    error("the host takes no " .. type(value), 0)
  elseif left > 1 then
    return check_plain(left - 1, ...)
  end
end

local function check_arguments(count, a, b, c, ...)
  if count > MAX_ARGUMENTS then
    error("too many arguments", 0)
  elseif count > 3 or not (PLAIN[type(a)] and PLAIN[type(b)] and PLAIN[type(c)]) then
    check_plain(count, a, b, c, ...)
  end
end

--- Makes a Lua function of a host function: results, or nil and an error. It raises for arguments
--- that are not plain: the host would keep a reference to them, and making one may need memory
--- where running out of it cannot be survived.
local function wrap(host_function)
  return function(...)
    check_arguments(select("#", ...), ...)
    return finish(host_function(...))
  end
end

local resolve = wrap(native.resolve)
local invoke = wrap(native.invoke)

---------------------------------------------------------------------------------------------------
-- Modules

local LOADING = {}
local loaded = {}
local scripts = {} -- names of the app's own modules among `loaded`

local function collect_functions(...)
  local functions = {}
  for i = 1, select("#", ...), 2 do
    local name, host_function = select(i, ...)
    functions[name] = wrap(host_function)
  end
  return functions
end

local function load_library(name, source, ...)
  local chunk = load(source, "=" .. name, "t", _G)
  return freeze(chunk(collect_functions(...), vm), name)
end

local function load_script(name, source, chunk_name)
  local chunk, problem = load(source, chunk_name, "t", env)
  if not chunk then
    error(problem, 0)
  end
  scripts[name] = true
  local result = chunk(name)
  return result == nil and true or result
end

local library_part = wrap(native.library_part)

--- Runs "library/part", a file of a library that has several, and returns what it returned.
function vm.part(name, ...)
  return load(library_part(name), "=" .. name, "t", _G)(...)
end

local function list(...)
  local values = { ... }
  for i = 1, select("#", ...) do
    if values[i] == nil then
      values[i] = vm.null
    end
  end
  return values
end

--- Makes a module of Python functions; arguments and results cross as MessagePack.
local function load_host_module(name, ...)
  local module = {}
  for i = 1, select("#", ...) do
    local function_name = select(i, ...)
    module[function_name] = function(...)
      local arguments, problem = vm.pack_arguments(...)
      if not arguments then
        return nil, problem
      end
      local result, err = invoke(name, function_name, arguments)
      if err then
        return nil, err
      end
      return (unpack(result))
    end
  end
  return freeze(module, name)
end

local loaders = { library = load_library, script = load_script, host = load_host_module }

local function install(name, kind, ...)
  if not kind then
    error(tostring((...)), 3)
  end
  loaded[name] = LOADING
  local ok, module = pcall(loaders[kind], name, ...)
  if not ok then
    loaded[name] = nil
    error(module, 0)
  end
  loaded[name] = module
  return module
end

--- Loads a module that the entry's `modules` or `imports` allow, once for each VM.
function env.require(name)
  if type(name) ~= "string" then
    error("bad argument #1 to 'require' (string expected, got " .. type(name) .. ")", 2)
  end
  local module = loaded[name]
  if module == LOADING then
    error("loop of modules: '" .. name .. "' requires itself", 2)
  end
  if module ~= nil then
    return module
  end
  module = install(name, resolve(name))
  return module -- no tail call: an error's position is counted from here
end

---------------------------------------------------------------------------------------------------
-- What the standard library's modules may use

local body -- the decoded body of the call in progress

--- Encodes a value for the host, any bytes and numbers unchanged; nil and an INVALID error.
function vm.pack(value)
  local bytes, problem = unhooked(pack, value)
  if not bytes then
    return nil, vm.error(problem, "Invalid", false)
  end
  return bytes
end

--- Encodes arguments for a function, nils included; nil and an INVALID error.
function vm.pack_arguments(...)
  return vm.pack(list(...))
end

--- Decodes what the host packed.
function vm.unpack(bytes)
  return (unhooked(unpack, bytes))
end

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

local function export_in(module, fn)
  if module == fn then
    return ""
  elseif type(module) ~= "table" then
    return nil
  end
  local first
  for name, value in pairs(module) do
    if value == fn and type(name) == "string" and (not first or name < first) then
      first = name
    end
  end
  return first
end

--- Finds the module ("" for the program itself) and the name under which a function is exported.
function vm.export_of(fn)
  local name = export_in(main, fn)
  if name then
    return "", name
  end
  local names = {}
  for module_name in pairs(scripts) do
    names[#names + 1] = module_name
  end
  table.sort(names)
  for _, module_name in ipairs(names) do
    name = export_in(loaded[module_name], fn)
    if name then
      return module_name, name
    end
  end
end

--- Returns "file:line" of the script that called a library function.
function vm.caller(level)
  local info = getinfo(level + 1, "Sl")
  return info and info.short_src .. ":" .. info.currentline or ""
end

--- Returns a value as text. `tostring` alone may return a number: `__tostring` can.
function vm.text(value)
  return tostring(value) .. ""
end

local DEEP = 100 -- levels; C walks a stack several times, up to some 200,000 levels of it

--- Returns the traceback of its caller's caller, or of one `level` above.
function vm.traceback(level)
  if getinfo(DEEP, "l") then
    check()
  end
  return traceback("", level + 1)
end

vm.codec = codec
vm.protect = sandbox.protect
vm.check = check
vm.unhooked = unhooked
vm.null = codec.null

sandbox.protect(codec.null)
errors = load_library("errors", native.errors_source)
loaded.errors = errors
env.errors = errors

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
  local packed = details ~= nil and pack(details) or nil
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
local function verdict(ok, ...)
  local status, message, kind, retryable, trace_back, details = outcome(ok, ...)
  if status == true then
    return true
  end
  return status, message, kind, retryable, trace_back, details
end

local function result(ok, ...)
  if ok ~= true then
    return ok, ...
  end
  local packed, problem = pack((...))
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
    ok, value, problem = pcall(kind == JSON and json_decode or unpack, value)
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
  local arguments, problem = unpack(bytes)
  if problem then
    error(problem, 0)
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
