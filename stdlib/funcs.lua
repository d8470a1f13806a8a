--- Calls of other functions of the app, one after the other or side by side.
---
--- Arguments and results are copies: plain values and tables, any bytes in strings. An error keeps
--- its kind, its hint about retries and its details on the way. A call ends no later than the one
--- that made it, and is interrupted with it; calls nest at most 16 deep.

local host, vm = ...

local error, next, pairs, setmetatable, type = error, next, pairs, setmetatable, type

---@class funcs
local M = {}

local invalid = vm.invalid

-- Checks and packs what a call is made of, and hands it to a host function.
local function send(host_function, context, id, ...)
  if type(id) ~= "string" or id == "" then
    return invalid("function ID must be a non-empty string")
  end
  local arguments, err = vm.pack_arguments(...)
  if not arguments then
    return nil, err
  end
  return host_function(id, arguments, context)
end

local function call(context, id, ...)
  local packed, err = send(host.call, context, id, ...)
  if not packed then
    return nil, err
  end
  return vm.unpack(packed)
end

---------------------------------------------------------------------------------------------------
-- Futures

--- A call on its way. It belongs to the call that made it: once that has ended, methods that ask
--- the host answer INVALID.
---@class funcs.Future
local Future = {}

local future_metatable = vm.read_only("funcs.Future", Future)
local states = setmetatable({}, { __mode = "k" }) -- future -> what is known of it

local function state_of(self)
  return states[self] or error("not a funcs.Future: call its methods with ':'", 3)
end

local function released(state)
  if state.serial ~= vm.serial() then
    return vm.error("funcs.Future released: the call that made it has ended", "Invalid", false)
  end
end

-- Takes the outcome from the host, blocking until it is there.
local function settle(state)
  local packed, err = host.take(state.number)
  state.done, state.err = true, err
  if packed then
    state.value = vm.unpack(packed)
  end
end

-- Looks for the outcome without waiting; tells whether it is known.
local function look(state)
  if not state.done and not released(state) and host.is_done(state.number) then
    settle(state)
  end
  return state.done
end

local function async(context, id, ...)
  local number, err = send(host.start, context, id, ...)
  if not number then
    return nil, err
  end
  local future = vm.protect(setmetatable({}, future_metatable))
  states[future] = { number = number, serial = vm.serial(), done = false, canceled = false }
  return future
end

--- Waits for the call and returns its result, or nil and its error; the same each time.
---
--- Example:
--- ```lua
--- local future = funcs.async("app:double", 21)
--- local value, err = future:response()
--- assert(value == 42 and err == nil)
--- ```
---@return any value
---@return Error? err CANCELED after `cancel`
function Future:response()
  local state = state_of(self)
  if not state.done then
    local err = released(state)
    if err then
      return nil, err
    end
    settle(state)
  end
  return state.value, state.err
end

--- Returns the result without waiting; nil while there is none, and after an error.
---
--- Example:
--- ```lua
--- local future = funcs.async("app:double", 21)
--- future:response()
--- assert(future:result() == 42)
--- ```
---@return any value
function Future:result()
  local state = state_of(self)
  look(state)
  return state.value
end

--- Returns the error without waiting; nil while there is none.
---
--- Example:
--- ```lua
--- local future = funcs.async("app:fail")
--- future:response()
--- assert(future:error():kind() == errors.CONFLICT)
--- ```
---@return Error? err
function Future:error()
  local state = state_of(self)
  look(state)
  return state.err
end

--- Tells whether there is a result or an error.
---
--- Example:
--- ```lua
--- local future = funcs.async("app:double", 21)
--- assert(not future:is_complete())
--- ```
---@return boolean
function Future:is_complete()
  local complete = look(state_of(self))
  return complete
end

--- Tells whether `cancel` ended the call.
---
--- Example:
--- ```lua
--- local future = funcs.async("app:double", 21)
--- future:cancel()
--- assert(future:is_canceled())
--- ```
---@return boolean
function Future:is_canceled()
  local canceled = state_of(self).canceled
  return canceled
end

--- Ends the call where it is; false when it had ended already.
---
--- Example:
--- ```lua
--- local future = funcs.async("app:double", 21)
--- assert(future:cancel() == true)
--- ```
---@return boolean canceled
function Future:cancel()
  local state = state_of(self)
  if look(state) or released(state) or not host.cancel(state.number) then
    return false
  end
  state.done, state.canceled = true, true
  state.err = vm.error("the call was cancelled", "Canceled", nil)
  return true
end

---------------------------------------------------------------------------------------------------
-- Calls

--- Calls a function and returns its result; blocks until it has ended.
---
--- Errors: what the function failed with; NOT_FOUND (no such function), INVALID (no ID, arguments
--- that cannot be copied, nested too deep, a module that is being loaded), TIMEOUT.
---
--- Example:
--- ```lua
--- local value, err = funcs.call("app:double", 21)
--- assert(value == 42 and err == nil)
--- ```
---@param id string the function's ID
---@param ... any
---@return any value
---@return Error? err
function M.call(id, ...)
  return call(nil, id, ...)
end

--- Begins a call and goes on; what runs still when this call ends is interrupted.
---
--- Errors as `call` has before it begins; RATE_LIMITED when 1000 calls run or wait for `response`.
---
--- Example:
--- ```lua
--- local futures = {}
--- for i = 1, 3 do
---   futures[i] = funcs.async("app:double", i)
--- end
--- assert(futures[3]:response() == 6)
--- ```
---@param id string the function's ID
---@param ... any
---@return funcs.Future? future
---@return Error? err
function M.async(id, ...)
  return async(nil, id, ...)
end

--- A caller with values that its calls find in `ctx`.
---@class funcs.Caller
local Caller = {}

local caller_metatable = vm.read_only("funcs.Caller", Caller)
local contexts = setmetatable({}, { __mode = "k" }) -- caller -> its values, false for none

local function new_caller(values)
  local caller = vm.protect(setmetatable({}, caller_metatable))
  contexts[caller] = values
  return caller
end

local function context_of(self)
  local values = contexts[self]
  if values == nil then
    error("not a funcs.Caller: call its methods with ':'", 3)
  end
  return values
end

-- Packed anew for each call: that is what makes it a copy.
local function pack_context(values)
  if values then
    return vm.pack(values)
  end
end

--- Returns a caller, for `with_context`.
---
--- Example:
--- ```lua
--- local caller = funcs.new()
--- assert(caller:call("app:double", 21) == 42)
--- ```
---@return funcs.Caller
function M.new()
  return new_caller(false)
end

--- Returns a caller that adds these values to the context, in place of others of the same name.
--- Calls that the called function makes inherit them.
---
--- Example:
--- ```lua
--- local caller = funcs.new():with_context({tenant = "acme"})
--- assert(caller:call("app:tenant") == "acme")
--- ```
---@param values table<string, any>
---@return funcs.Caller? caller
---@return Error? err INVALID: no table, keys that are no strings, values that cannot be copied
function Caller:with_context(values)
  local merged = {}
  for key, value in pairs(context_of(self) or {}) do
    merged[key] = value
  end
  if type(values) ~= "table" then
    return invalid("context must be a table, not a " .. type(values))
  end
  for key, value in next, values do
    if type(key) ~= "string" then
      return invalid("context: keys must be strings, not a " .. type(key))
    end
    local packed, err = vm.pack(value)
    if not packed then
      return nil, err
    end
    merged[key] = vm.unpack(packed)
  end
  return new_caller(next(merged) ~= nil and merged)
end

--- Calls a function with the caller's context; otherwise as `funcs.call`.
---
--- Example:
--- ```lua
--- local caller = funcs.new():with_context({tenant = "acme"})
--- local tenant, err = caller:call("app:tenant")
--- assert(tenant == "acme" and err == nil)
--- ```
---@param id string the function's ID
---@param ... any
---@return any value
---@return Error? err
function Caller:call(id, ...)
  return call(pack_context(context_of(self)), id, ...)
end

--- Begins a call with the caller's context; otherwise as `funcs.async`.
---
--- Example:
--- ```lua
--- local caller = funcs.new():with_context({tenant = "acme"})
--- assert(caller:async("app:tenant"):response() == "acme")
--- ```
---@param id string the function's ID
---@param ... any
---@return funcs.Future? future
---@return Error? err
function Caller:async(id, ...)
  return async(pack_context(context_of(self)), id, ...)
end

return M
