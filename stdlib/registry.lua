--- The app's entries, to read: plain data, copied.
---
--- What may hold secrets stays closed: entries of drivers, stores and configurations have no
--- `data`, and no `data` has a `source`.

local host, vm = ...

local type = type

---@class registry
local M = {}

--- One entry of the app.
---@class registry.Entry
---@field id string "namespace:name"
---@field namespace string
---@field name string
---@field kind string
---@field meta table<string, any>
---@field data? table<string, any> the entry's own fields, with their defaults

local invalid = vm.invalid

--- Returns an entry by its ID; NOT_FOUND when there is none.
---
--- Example:
--- ```lua
--- local entry = registry.get("app:tenant")
--- assert(entry.kind == "function.lua" and entry.data.modules[1] == "ctx")
--- ```
---@param id string
---@return registry.Entry? entry
---@return Error? err
function M.get(id)
  if type(id) ~= "string" or id == "" then
    return invalid("entry ID must be a non-empty string")
  end
  local packed, err = host.get(id)
  if not packed then
    return nil, err
  end
  return vm.unpack(packed)
end

--- Returns the entries that meet all criteria, in the order of the files.
---
--- Criteria are `id`, `namespace`, `name`, `kind` (those below it too: "queue" finds all of queues)
--- and `meta.<key>`, each with a dot before it or without.
---
--- Example:
--- ```lua
--- local functions = registry.find({kind = "function", namespace = "app"})
--- assert(functions[1].name == "double")
--- ```
---@param criteria? table<string, any> (default: all entries)
---@return registry.Entry[]? entries
---@return Error? err INVALID: unknown criteria
function M.find(criteria)
  if criteria ~= nil and type(criteria) ~= "table" then
    return invalid("criteria must be a table, not a " .. type(criteria))
  end
  local packed, err = vm.pack(criteria or {})
  if not packed then
    return nil, err
  end
  packed, err = host.find(packed)
  if not packed then
    return nil, err
  end
  return vm.unpack(packed)
end

return M
