--- Environment variables of the host: those that its `host.config` entry names in `env`.

local host, vm = ...

local type = type

---@class env
local M = {}

--- Returns a variable; nil without an error when it is not set.
---
--- Example:
--- ```lua
--- local home, err = env.get("HOME")
--- assert(home == "/home/me" and err == nil)
--- ```
---@param name string
---@return string? value
---@return Error? err INVALID: no name; PERMISSION_DENIED: one that the app does not allow
function M.get(name)
  if type(name) ~= "string" or name == "" then
    return nil, vm.error("name must be a non-empty string", "Invalid", false)
  end
  return host.get(name)
end

--- Returns all variables that are allowed and set, by name.
---
--- Example:
--- ```lua
--- assert(env.get_all().HOME == "/home/me")
--- ```
---@return table<string, string>
function M.get_all()
  return vm.unpack(host.get_all())
end

return M
