--- JSON text from Lua values and back.
---
--- A sequence is an array, a table with string keys an object, and `{}` an array; an empty object
--- that was decoded is written as one again. Integers stay integers. Null is nil in an object and
--- `json.null` in an array, so that positions hold.

local _, vm = ...

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

return M
