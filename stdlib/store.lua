--- Key-value stores, shared by all functions of a host.

local host, vm = ...

local error, setmetatable, type = error, setmetatable, type

---@class store
local M = {}

local function invalid(message)
  return nil, vm.error(message, "Invalid", false)
end

--- One store. A stored table is a copy: changing what was set or gotten changes nothing in the
--- store. Every method answers INVALID after `release`.
---@class store.Store
local Store = {}

local metatable = {
  __index = Store,
  __name = "store.Store",
  __metatable = false,
  __newindex = function()
    error("store.Store is read-only", 2)
  end,
}
local ids = setmetatable({}, { __mode = "k" }) -- store -> its ID, false once released

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
  if type(id) ~= "string" or id == "" then
    return invalid("store ID must be a non-empty string")
  end
  local ok, err = host.open(id)
  if not ok then
    return nil, err
  end
  local store = vm.protect(setmetatable({}, metatable))
  ids[store] = id
  return store
end

local function id_of(self)
  local id = ids[self]
  if id == nil then
    error("not a store: call its methods with ':'", 3)
  end
  return id
end

--- Makes a method that takes a key as its first argument.
local function method(call)
  return function(self, key, value, ttl)
    local id = id_of(self)
    if not id then
      return invalid("store.Store released")
    elseif type(key) ~= "string" then
      return invalid("key must be a string, not a " .. type(key))
    end
    return call(id, key, value, ttl)
  end
end

--- Returns a key's value; nil without an error when it has none.
---
--- Example:
--- ```lua
--- local count = seen:get("count") or 0
--- ```
---@type fun(self: store.Store, key: string): any, Error?
Store.get = method(function(id, key)
  local packed, err = host.get(id, key)
  if not packed then
    return nil, err
  end
  return vm.unpack(packed)
end)

--- Sets a key's value.
---
--- INVALID: a key that is empty or over 1024 bytes, no value, one that cannot be encoded, a `ttl`
--- that is no duration over 0. UNAVAILABLE, and a retry can help: the store is full.
---
--- Example:
--- ```lua
--- local ok, err = seen:set(msg:id(), true, "10m")
--- ```
---@type fun(self: store.Store, key: string, value: any, ttl?: string|number): true?, Error?
Store.set = method(function(id, key, value, ttl)
  if value == nil then
    return invalid("value is missing: delete removes a key")
  elseif ttl ~= nil and type(ttl) ~= "string" and type(ttl) ~= "number" then
    return invalid('ttl must be a duration such as "10s", or seconds')
  end
  local packed, err = vm.pack(value)
  if not packed then
    return nil, err
  end
  return host.set(id, key, packed, ttl)
end)

--- Tells whether a key has a value.
---
--- Example:
--- ```lua
--- if seen:has(msg:id()) then return end
--- ```
---@type fun(self: store.Store, key: string): boolean?, Error?
Store.has = method(function(id, key)
  return host.has(id, key)
end)

--- Removes a key; true when it had a value.
---
--- Example:
--- ```lua
--- seen:delete("count")
--- ```
---@type fun(self: store.Store, key: string): boolean?, Error?
Store.delete = method(function(id, key)
  return host.delete(id, key)
end)

--- Lets go of the store; its contents stay. Harmless when it was released before.
---
--- Example:
--- ```lua
--- seen:release()
--- ```
---@return true
function Store:release()
  id_of(self)
  ids[self] = false
  return true
end

return M
