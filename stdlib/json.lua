--- JSON text from Lua values and back.
---
--- A sequence is an array, a table with string keys an object, and `{}` an array; an empty object
--- that was decoded is written as one again. Integers stay integers. Null is nil in an object and
--- `json.null` in an array, so that positions hold.

local host, vm = ...

local type = type
local codec, unhooked = vm.codec, vm.unhooked

---@class json
local M = {
  --- Stands for null in arrays, and is written as null anywhere.
  null = codec.null,
}

local function failure(problem, marker)
  return nil, vm.error("json: " .. problem, marker == "invalid" and "Invalid" or "Internal", false)
end

--- Returns the JSON text of a value.
---
--- Inf and NaN are written as null. Errors: INTERNAL for sparse, mixed-key or recursive tables,
--- for a depth over 128 and for functions; INVALID for a string that is not UTF-8.
---
--- Example:
--- ```lua
--- assert(json.encode({id = 7}) == '{"id":7}')
--- ```
---@param value any
---@return string? text
---@return Error? err
function M.encode(value)
  local text, problem, marker = unhooked(codec.json_encode, value)
  if not text then
    return failure(problem, marker)
  end
  return text
end

--- Returns the value of a JSON text.
---
--- A table that a handler got as its body comes back unchanged, so that a handler may decode its
--- body whether or not that was done. Errors: INVALID for anything else that is not a string, and
--- for an empty string; INTERNAL with the position for bad JSON.
---
--- Example:
--- ```lua
--- assert(json.decode('[1, 2]')[2] == 2)
--- ```
---@param text string
---@return any value
---@return Error? err
function M.decode(text)
  if type(text) ~= "string" then
    if vm.is_body(text) then
      return text
    end
    return failure("decode needs a string, not a " .. type(text), "invalid")
  end
  if text == "" then
    return failure("decode needs a string that is not empty", "invalid")
  end
  local value, problem, marker = unhooked(codec.json_decode, text)
  if problem then
    return failure(problem, marker)
  end
  return value
end

---------------------------------------------------------------------------------------------------
-- JSON Schema

--- One place where data does not fit its schema.
---@class json.SchemaError
---@field path string where in the data, a JSON Pointer such as "/items/0/name"
---@field schema_path string where in the schema
---@field message string

local function schema_text(schema)
  if type(schema) == "string" then
    return schema
  elseif type(schema) ~= "table" then
    return failure("schema must be a table or JSON text, not a " .. type(schema), "invalid")
  end
  return M.encode(schema)
end

local function summary(errors)
  local first = errors[1]
  local where = first.path == "" and "" or first.path .. ": "
  local others = #errors > 1 and " (and " .. #errors - 1 .. " more)" or ""
  return where .. first.message .. others
end

local function validate(schema, text)
  local schema_as_text, err = schema_text(schema)
  if not schema_as_text then
    return nil, err
  end
  local result
  result, err = host.validate(schema_as_text, text)
  if not result then
    return nil, err
  elseif result == true then
    return true
  end
  local details = vm.unpack(result)
  return false, vm.error("json: " .. summary(details.errors), "Invalid", false, details)
end

--- Tells whether a value meets a schema of JSON Schema 2020-12.
---
--- `false, err` when it does not: `err:details().errors` lists what is wrong, at most 20 of it.
--- `nil, err` when that cannot be told: INVALID for what is no schema; as `encode` for a table that
--- cannot be JSON; UNAVAILABLE when the host lacks the extra `schema`. Inside a schema, as in data,
--- an empty table is an array; `format` is not checked, and nothing is fetched for a `$ref`.
---
--- Example:
--- ```lua
--- local schema = {type = "object", properties = {id = {type = "integer"}}, required = {"id"}}
--- local ok, err = json.validate(schema, {id = "seven"})
--- assert(ok == false and err:details().errors[1].path == "/id")
--- ```
---@param schema table|string a table, or JSON text
---@param data any
---@return boolean? ok
---@return Error? err
function M.validate(schema, data)
  local text, err = M.encode(data)
  if not text then
    return nil, err
  end
  return validate(schema, text)
end

--- Tells whether the value of a JSON text meets a schema, as `validate` does.
---
--- Also `nil, err`: INVALID for an empty string, INTERNAL with the position for bad JSON.
---
--- Example:
--- ```lua
--- local schema = '{"type": "array", "items": {"type": "integer"}}'
--- assert(json.validate_string(schema, "[1, 2]"))
--- ```
---@param schema table|string a table, or JSON text
---@param text string
---@return boolean? ok
---@return Error? err
function M.validate_string(schema, text)
  if type(text) ~= "string" or text == "" then
    return failure("validate_string needs a string that is not empty", "invalid")
  end
  return validate(schema, text)
end

return M
