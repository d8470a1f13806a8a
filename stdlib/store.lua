--- Key-value stores, shared by all functions of a host; `store.sqlite` by the hosts of one machine,
--- `store.redis` by all hosts.

local host, vm = ...

local setmetatable, type = setmetatable, type
local invalid, tointeger = vm.invalid, math.tointeger

---@class store
local M = {}

--- One store. A stored table is a copy: changing what was set or gotten changes nothing in the
--- store. A key has 1 to 1024 bytes, a value at most 16 MiB.
---
--- Errors of every method: INVALID for what cannot be asked, and after `release`; UNAVAILABLE or
--- TIMEOUT, and a retry can help, when the database cannot be reached: what was asked may be done
--- all the same.
---@class store.Store
local Store = {}

local handles = vm.handles("store.Store", "store", Store, host.open)

--- Opens a store by the ID of its entry; NOT_FOUND when there is none.
---
--- Example:
--- ```lua
--- local seen = store.get("app:seen")
--- ```
---@param id string
---@return store.Store? store
---@return Error? err
function M.get(id)
  return handles.open(id)
end

--- Makes a method that takes a key as its first argument.
local function method(call)
  return function(self, key, ...)
    local id = handles.id_of(self)
    if not id then
      return invalid("store.Store released")
    elseif type(key) ~= "string" then
      return invalid("key must be a string, not a " .. type(key))
    end
    return call(id, key, ...)
  end
end

-- Tells whether the host can look at a duration.
local function is_span(value)
  return type(value) == "string" or type(value) == "number"
end

local BAD_TTL = 'ttl must be a duration such as "10s", or seconds'

--- Returns a key's value; nil without an error when it has none.
---
--- Example:
--- ```lua
--- local seen = store.get("app:seen")
--- local count = seen:get("count") or 0
--- assert(count == 0)
--- ```
---@type fun(self: store.Store, key: string): any, Error?
Store.get = method(function(id, key)
  local packed, err = host.get(id, key)
  if not packed then
    return nil, err
  end
  return vm.unpack(packed)
end)

-- Makes a method that stores a value.
local function setter(set)
  return method(function(id, key, value, ttl)
    if value == nil then
      return invalid("value is missing: delete removes a key")
    elseif ttl ~= nil and not is_span(ttl) then
      return invalid(BAD_TTL)
    end
    local packed, err = vm.pack(value)
    if not packed then
      return nil, err
    end
    return set(id, key, packed, ttl)
  end)
end

--- Sets a key's value, for `ttl` ("10s", or seconds) or until it is deleted.
---
--- INVALID: no value, one that cannot be encoded, a `ttl` that is no duration over 0. UNAVAILABLE,
--- and a retry can help: a `store.memory` that is full.
---
--- Example:
--- ```lua
--- local seen = store.get("app:seen")
--- local ok, err = seen:set("order-7", {state = "paid"}, "10m")
--- assert(seen:get("order-7").state == "paid")
--- ```
---@type fun(self: store.Store, key: string, value: any, ttl?: string|number): true?, Error?
Store.set = setter(host.set)

--- Sets a key's value unless it has one; true when it did, false when there was one. Of callers
--- side by side one gets true.
---
--- Example:
--- ```lua
--- local seen = store.get("app:seen")
--- assert(seen:set_if_absent("leader", "me", "1m") == true)
--- assert(seen:set_if_absent("leader", "you", "1m") == false)
--- ```
---@type fun(self: store.Store, key: string, value: any, ttl?: string|number): boolean?, Error?
Store.set_if_absent = setter(host.set_if_absent)

--- Adds `by` (default: 1) to a key's integer and returns the sum. A key without a value counts as
--- 0, and gets `ttl`; the others keep theirs. No sum is lost to callers side by side.
---
--- INVALID: a value that is no integer, a `by` that is none, a sum of over 64 bits.
---
--- Example:
--- ```lua
--- local seen = store.get("app:seen")
--- assert(seen:incr("mails") == 1)
--- assert(seen:incr("mails", 5) == 6)
--- if seen:incr("calls this minute", 1, "1m") > 100 then return nil, "too many" end
--- ```
---@type fun(self: store.Store, key: string, by?: integer, ttl?: string|number): integer?, Error?
Store.incr = method(function(id, key, by, ttl)
  local step = by == nil and 1 or type(by) == "number" and tointeger(by)
  if not step then
    return invalid("by must be an integer")
  elseif ttl ~= nil and not is_span(ttl) then
    return invalid(BAD_TTL)
  end
  return host.incr(id, key, step, ttl)
end)

--- Tells whether a key has a value.
---
--- Example:
--- ```lua
--- local seen = store.get("app:seen")
--- if seen:has("order-7") then return end
--- ```
---@type fun(self: store.Store, key: string): boolean?, Error?
Store.has = method(function(id, key)
  return host.has(id, key)
end)

--- Removes a key; true when it had a value.
---
--- Example:
--- ```lua
--- local seen = store.get("app:seen")
--- assert(seen:delete("count") == false)
--- ```
---@type fun(self: store.Store, key: string): boolean?, Error?
Store.delete = method(function(id, key)
  return host.delete(id, key)
end)

---------------------------------------------------------------------------------------------------
-- Once

--- How `once` behaves.
---@class store.OnceOptions
---@field wait? string|number how long to wait for another caller that runs the function of this key (default: 5s)

local claims = setmetatable({}, { __mode = "k" }) -- claim -> the host's number of it, false once settled

-- What closes a claim when its function raised, or its coroutine was closed.
local claim_metatable = {
  __close = function(claim)
    if claims[claim] then
      host.free(claims[claim])
    end
  end,
}

local function new_claim(number)
  local claim = setmetatable({}, claim_metatable)
  claims[claim] = number
  return claim
end

local function settle(claim)
  local number = claims[claim]
  claims[claim] = false
  return number
end

local function give_up(claim, err)
  host.free(settle(claim))
  return nil, err
end

-- Runs the function and stores its result, or frees the key.
local function run_claimed(number, fn)
  local claim <close> = new_claim(number)
  local value, err = fn()
  if vm.has_failed(value, err) then
    return give_up(claim, err or vm.error("the function returned false", "", nil))
  elseif value == nil then
    value = true
  end
  local packed, problem = vm.pack(value)
  if not packed then
    return give_up(claim, problem)
  end
  local ok
  ok, problem = host.finish(settle(claim), packed)
  if not ok then
    return nil, problem
  end
  return value, nil, "ran"
end

local function is_options(value)
  return type(value) == "table" and (value.wait == nil or is_span(value.wait))
end

--- Runs a function for a key unless that was done: a message that comes twice is handled once.
---
--- Its result becomes the key's value for `ttl`, `true` when it has none. While the key has a value
--- the function does not run, and `once` returns that value and "done"; `get` and `has` see it,
--- `delete` lets it run again. The function fails as a handler does: when it raises (and `once`
--- with it), returns nil or false and an error, an error object, or just false. Then the key is
--- free for the next caller, and so it is when the call ends in between.
---
--- Of callers side by side, on whatever host shares the store, one runs the function. The others
--- wait for it, and get CONFLICT when that takes longer than `wait`: returned by a handler, it
--- brings the message back later, at the cost of an attempt; `msg:snooze` costs none. When a host is
--- lost, the key is free after the store's `lease` (30s; of `store.memory`, which ends with its host,
--- there is none), which is renewed while the function runs.
---
--- Errors: what the function returned; CONFLICT, and a retry can help: another caller still runs,
--- or this one ran longer than its lease, which could not be renewed, and lost the key to another
--- one; INVALID: a result that cannot be stored, and as for `set`. The function may run again
--- after CONFLICT, UNAVAILABLE and TIMEOUT, and after a host was lost: let it do one thing.
---
--- Example:
--- ```lua
--- local seen = store.get("app:seen")
--- local function charge() return {receipt = 7} end
--- local paid, err, state = seen:once("order-7", "24h", charge)
--- if not paid then return nil, err end
--- assert(paid.receipt == 7 and state == "ran")
--- ```
---@type fun(self: store.Store, key: string, ttl: string|number, fn: fun(): any, options?: store.OnceOptions): any, Error?, ("ran"|"done")?
Store.once = method(function(id, key, ttl, fn, options)
  if not is_span(ttl) then
    return invalid(BAD_TTL)
  elseif type(fn) ~= "function" then
    return invalid("once needs a function, not a " .. type(fn))
  elseif options ~= nil and not is_options(options) then
    return invalid('options must be a table; wait is a duration such as "5s", or seconds')
  end
  local found, err = host.claim(id, key, ttl, options and options.wait)
  if not found then
    return nil, err
  elseif type(found) == "string" then
    return vm.unpack(found), nil, "done"
  end
  return run_claimed(found, fn)
end)

--- Lets go of the store; its contents stay. Harmless when it was released before.
---
--- Example:
--- ```lua
--- local seen = store.get("app:seen")
--- seen:release()
--- ```
---@return true
function Store:release()
  handles.id_of(self)
  handles.close(self)
  return true
end

return M
