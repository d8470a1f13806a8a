-- Host functions as Lua functions: results, or nil and an error.

local preempt, codec, native, vm = ...

local error, select, type = error, select, type

-- What a host function's first result says; the host's `Status` has the same values. "Lifted" is
-- after a result so large that the memory limit was taken off to push it.
local OK, ERROR, OK_LIFTED, ERROR_LIFTED = true, 1, 2, 3 -- anything else ends the call

local function failed(message, kind, retryable, details)
  return nil, vm.error(message, kind, retryable, details and codec.msgpack_decode(details))
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

return wrap
