--- Base64, of any bytes.

local host, vm = ...

local type = type

---@class base64
local M = {}

local function of_string(host_function)
  return function(text)
    if type(text) ~= "string" then
      return nil, vm.error("base64 needs a string, not a " .. type(text), "Invalid", false)
    end
    return host_function(text)
  end
end

--- Returns bytes as base64, with `+`, `/` and padding.
---
--- Example:
--- ```lua
--- assert(base64.encode("hello") == "aGVsbG8=")
--- ```
---@type fun(data: string): string?, Error?
M.encode = of_string(host.encode)

--- Returns the bytes of a base64 text; line breaks in it are skipped.
---
--- INVALID: no string, or a text that is no base64 or lacks its padding.
---
--- Example:
--- ```lua
--- assert(base64.decode("aGVsbG8=") == "hello")
--- ```
---@type fun(text: string): string?, Error?
M.decode = of_string(host.decode)

--- Returns bytes as base64 for URLs and file names: with `-` and `_`, without padding.
---
--- Example:
--- ```lua
--- assert(base64.encode_url("\255\254") == "__4")
--- ```
---@type fun(data: string): string?, Error?
M.encode_url = of_string(host.encode_url)

--- Returns the bytes of a base64 text for URLs, with padding or without.
---
--- INVALID: no string, or a text that is no such base64.
---
--- Example:
--- ```lua
--- assert(base64.decode_url("__4") == "\255\254")
--- ```
---@type fun(text: string): string?, Error?
M.decode_url = of_string(host.decode_url)

return M
