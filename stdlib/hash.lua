--- Hashes and message authentication codes of any bytes: hexadecimal, or raw bytes on request.

local host, vm = ...

local byte, format, pack, type = string.byte, string.format, string.pack, type

---@class hash
local M = {}

local invalid = vm.invalid

-- Makes a function (data[, raw]).
local function digest(name)
  return function(data, raw)
    if type(data) ~= "string" then
      return invalid("data must be a string, not a " .. type(data))
    end
    return host.digest(name, data, raw and true or false)
  end
end

-- Makes a function (data, secret[, raw]).
local function hmac(name)
  return function(data, secret, raw)
    if type(data) ~= "string" then
      return invalid("data must be a string, not a " .. type(data))
    elseif type(secret) ~= "string" then
      return invalid("secret must be a string, not a " .. type(secret))
    end
    return host.hmac(name, data, secret, raw and true or false)
  end
end

-- Makes a function (data[, raw]) of FNV-1a. In Lua, where a long text is interrupted like any loop.
local function fnv(start, prime, mask, hexadecimal, layout)
  return function(data, raw)
    if type(data) ~= "string" then
      return invalid("data must be a string, not a " .. type(data))
    end
    local value = start
    for i = 1, #data do
      value = (value ~ byte(data, i)) * prime & mask
    end
    return raw and pack(layout, value) or format(hexadecimal, value)
  end
end

--- Returns the MD5 hash of bytes. Not for secrets: it is broken.
---
--- Example:
--- ```lua
--- assert(hash.md5("a") == "0cc175b9c0f1b6a831c399e269772661")
--- ```
---@type fun(data: string, raw?: boolean): string?, Error?
M.md5 = digest("md5")

--- Returns the SHA-1 hash of bytes. Not for secrets: it is broken.
---
--- Example:
--- ```lua
--- assert(hash.sha1("a") == "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8")
--- ```
---@type fun(data: string, raw?: boolean): string?, Error?
M.sha1 = digest("sha1")

--- Returns the SHA-256 hash of bytes.
---
--- Example:
--- ```lua
--- assert(hash.sha256("a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb")
--- ```
---@type fun(data: string, raw?: boolean): string?, Error?
M.sha256 = digest("sha256")

--- Returns the SHA-512 hash of bytes.
---
--- Example:
--- ```lua
--- assert(hash.sha512("a"):sub(1, 16) == "1f40fc92da241694")
--- ```
---@type fun(data: string, raw?: boolean): string?, Error?
M.sha512 = digest("sha512")

--- Returns the 32-bit FNV-1a hash of bytes.
---
--- Example:
--- ```lua
--- assert(hash.fnv32("a") == "e40c292c")
--- ```
---@type fun(data: string, raw?: boolean): string?, Error?
M.fnv32 = fnv(0x811c9dc5, 0x01000193, 0xffffffff, "%08x", ">I4")

--- Returns the 64-bit FNV-1a hash of bytes.
---
--- Example:
--- ```lua
--- assert(hash.fnv64("a") == "af63dc4c8601ec8c")
--- ```
---@type fun(data: string, raw?: boolean): string?, Error?
M.fnv64 = fnv(0xcbf29ce484222325, 0x100000001b3, -1, "%016x", ">i8")

--- Returns the HMAC of bytes with a secret, by MD5.
---
--- Example:
--- ```lua
--- assert(hash.hmac_md5("a", "secret"):sub(1, 16) == "b0eba8aee3fb9b23")
--- ```
---@type fun(data: string, secret: string, raw?: boolean): string?, Error?
M.hmac_md5 = hmac("md5")

--- Returns the HMAC of bytes with a secret, by SHA-1.
---
--- Example:
--- ```lua
--- assert(hash.hmac_sha1("a", "secret"):sub(1, 16) == "cd33db5a64e8a218")
--- ```
---@type fun(data: string, secret: string, raw?: boolean): string?, Error?
M.hmac_sha1 = hmac("sha1")

--- Returns the HMAC of bytes with a secret, by SHA-256.
---
--- Example:
--- ```lua
--- assert(hash.hmac_sha256("a", "secret"):sub(1, 16) == "4048c44911916043")
--- ```
---@type fun(data: string, secret: string, raw?: boolean): string?, Error?
M.hmac_sha256 = hmac("sha256")

--- Returns the HMAC of bytes with a secret, by SHA-512.
---
--- Example:
--- ```lua
--- assert(hash.hmac_sha512("a", "secret"):sub(1, 16) == "0cd1e5341c1c2316")
--- ```
---@type fun(data: string, secret: string, raw?: boolean): string?, Error?
M.hmac_sha512 = hmac("sha512")

return M
