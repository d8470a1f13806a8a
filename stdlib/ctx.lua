--- The context of the call in progress: values that a caller gave it by `with_context` of `funcs`.
---
--- A call inherits the context of the call that made it.

local host, vm = ...

local type = type

---@class ctx
local M = {}

--- Returns one value; nil without an error when the context has none of this name.
---
--- Example:
--- ```lua
--- local tenant = ctx.get("tenant") or "nobody"
--- assert(tenant == "nobody")
--- ```
---@param key string
---@return any value
---@return Error? err INVALID: no key
function M.get(key)
  if type(key) ~= "string" or key == "" then
    return nil, vm.error("key must be a non-empty string", "Invalid", false)
  end
  local packed, err = host.get(key)
  if not packed then
    return nil, err
  end
  return vm.unpack(packed)
end

--- Returns all values by name, as a copy.
---
--- Example:
--- ```lua
--- assert(next(ctx.all()) == nil)
--- ```
---@return table<string, any>
function M.all()
  return vm.unpack(host.all())
end

return M
