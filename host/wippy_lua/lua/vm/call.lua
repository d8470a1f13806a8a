-- Calls with values: packed arguments in, a packed result out.

local codec, vm, start_call, run, raised = ...

local error, pcall, unpack = error, pcall, table.unpack

local function read_arguments(bytes)
  local arguments, problem = codec.msgpack_decode(bytes)
  if problem then
    error(vm.error("the arguments do not decode: " .. problem, "Invalid", false), 0)
  end
  local count = #arguments
  for i = 1, count do
    if arguments[i] == codec.null then
      arguments[i] = nil
    end
  end
  return unpack(arguments, 1, count)
end

--- Packs what a function returned, by the outcome of its run.
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

local function call_with(ok, ...)
  if not ok then
    return raised((...))
  end
  return result(run(nil, ...))
end

--- Calls the handler with packed arguments and packs its first result.
local function call(lifted, bytes)
  start_call(lifted)
  return call_with(pcall(read_arguments, bytes))
end

return { call = call, result = result }
