--- Log lines with fields. Each carries the function, consumer, queue, message ID and attempt where
--- there are any, and the file and line that wrote it.
---
--- `logger.info("x")` and `logger:info("x")` are the same.

local host, vm = ...

local error, pairs, setmetatable, type = error, pairs, setmetatable, type
local text = vm.text

--- What writes lines, with its own name and fields.
---@class Logger
local Logger = {}

local metatable = vm.read_only("logger", Logger)
local facts = setmetatable({}, { __mode = "k" }) -- logger -> its name and bound fields

local function create(name, fields)
  local logger = vm.protect(setmetatable({}, metatable))
  facts[logger] = { name = name, fields = fields }
  return logger
end

local function merged(bound, fields)
  if not bound then
    return fields
  end
  local all = {}
  for key, value in pairs(bound) do
    all[key] = value
  end
  for key, value in pairs(fields or {}) do
    all[key] = value
  end
  return all
end

-- Fields are for people: what cannot be packed is shown as text rather than lost.
local function pack_fields(fields)
  local packed = vm.pack(fields)
  if packed then
    return packed
  end
  local shown = {}
  for key, value in pairs(fields) do
    shown[text(key)] = (type(value) == "number" or type(value) == "boolean") and value or text(value)
  end
  return vm.pack(shown)
end

local root = create("", nil)

local function write(level, self, msg, fields)
  if not host.is_enabled(level) then
    return
  end
  if fields ~= nil and type(fields) ~= "table" then
    fields = { value = fields }
  end
  local bound = facts[self]
  fields = merged(bound.fields, fields)
  host.log(level, bound.name, text(msg), fields and pack_fields(fields), vm.caller(3))
end

local function level_function(level)
  return function(self, msg, fields)
    if facts[self] then
      write(level, self, msg, fields)
    else
      write(level, root, self, msg)
    end
  end
end

--- Writes a line of level debug.
---
--- Example:
--- ```lua
--- logger.debug("asked the bank", {order = 7})
--- ```
---@type fun(msg: string, fields?: table)
Logger.debug = level_function("debug")

--- Writes a line of level info.
---
--- Example:
--- ```lua
--- logger.info("charged", {order = 7, amount = 12.5})
--- ```
---@type fun(msg: string, fields?: table)
Logger.info = level_function("info")

--- Writes a line of level warn.
---
--- Example:
--- ```lua
--- logger.warn("slow", {order = 7, seconds = 12})
--- ```
---@type fun(msg: string, fields?: table)
Logger.warn = level_function("warn")

--- Writes a line of level error.
---
--- Example:
--- ```lua
--- logger.error("not charged", {order = 7})
--- ```
---@type fun(msg: string, fields?: table)
Logger.error = level_function("error")

local function own(self, value)
  if facts[self] then
    return self, value
  end
  return root, self
end

--- Returns a logger whose lines carry these fields too.
---
--- Example:
--- ```lua
--- local log = logger:with({order = 7})
--- log:info("charged")
--- ```
---@param fields table
---@return Logger
function Logger.with(self, fields)
  self, fields = own(self, fields)
  if type(fields) ~= "table" then
    error("logger.with: fields must be a table", 2)
  end
  local bound = facts[self]
  return create(bound.name, merged(bound.fields, fields))
end

--- Returns a logger whose lines carry this name.
---
--- Example:
--- ```lua
--- local log = logger:named("billing")
--- ```
---@param name string
---@return Logger
function Logger.named(self, name)
  self, name = own(self, name)
  if type(name) ~= "string" or name == "" then
    error("logger.named: name must be a non-empty string", 2)
  end
  local bound = facts[self]
  return create(bound.name == "" and name or bound.name .. "." .. name, bound.fields)
end

return root
