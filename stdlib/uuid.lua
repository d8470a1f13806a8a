--- UUIDs: make them, check them, take them apart.

local host, vm = ...

local find, gsub, lower, sub, tonumber, type =
  string.find, string.gsub, string.lower, string.sub, tonumber, type

---@class uuid
local M = {
  --- Namespaces of RFC 9562, for `v3` and `v5`.
  DNS = "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
  URL = "6ba7b811-9dad-11d1-80b4-00c04fd430c8",
  OID = "6ba7b812-9dad-11d1-80b4-00c04fd430c8",
  X500 = "6ba7b814-9dad-11d1-80b4-00c04fd430c8",
}

local invalid = vm.invalid

local HEX4 = ("%x"):rep(4)
local STANDARD = "^" .. HEX4:rep(2) .. ("%-" .. HEX4):rep(4) .. HEX4:rep(2) .. "$"
local SIMPLE = "^" .. HEX4:rep(8) .. "$"
local URN = "urn:uuid:"

-- Returns the standard form of a UUID's text, nil for what is none.
local function standard(text)
  if type(text) ~= "string" or #text > #URN + 36 then
    return nil
  end
  text = lower(text)
  if sub(text, 1, #URN) == URN then
    text = sub(text, #URN + 1)
  elseif find(text, SIMPLE) then
    return (gsub(text, "^(........)(....)(....)(....)(............)$", "%1-%2-%3-%4-%5"))
  end
  return find(text, STANDARD) and text or nil
end

local function not_one(text)
  return invalid(type(text) == "string" and "the text is no UUID" or "a UUID is a string, not a " .. type(text))
end

local function version_of(text)
  return tonumber(sub(text, 15, 15), 16)
end

local function variant_of(text)
  local bits = tonumber(sub(text, 20, 20), 16)
  if bits < 8 then
    return "NCS"
  elseif bits < 12 then
    return "RFC4122"
  end
  return bits < 14 and "Microsoft" or "Future"
end

-- Makes a function (namespace, name).
local function method(make)
  return function(namespace, name)
    local uuid = standard(namespace)
    if not uuid then
      return invalid("namespace must be a UUID, such as uuid.URL")
    elseif type(name) ~= "string" then
      return invalid("name must be a string, not a " .. type(name))
    end
    return make(uuid, name)
  end
end

--- Returns one of the time, with a random node.
---
--- Example:
--- ```lua
--- assert(uuid.version(uuid.v1()) == 1)
--- ```
---@return string
function M.v1()
  return host.v1()
end

--- Returns the one of a name in a namespace, by MD5: the same each time.
---
--- Example:
--- ```lua
--- assert(uuid.v3(uuid.DNS, "example.com") == "9073926b-929f-31c2-abc9-fad77ae3e8eb")
--- ```
---@type fun(namespace: string, name: string): string?, Error?
M.v3 = method(host.v3)

--- Returns a random one.
---
--- Example:
--- ```lua
--- assert(uuid.v4() ~= uuid.v4())
--- ```
---@return string
function M.v4()
  return host.v4()
end

--- Returns the one of a name in a namespace, by SHA-1: the same each time.
---
--- Example:
--- ```lua
--- assert(uuid.v5(uuid.DNS, "example.com") == "cfbff0d1-9375-5685-968c-48ce8b15ae17")
--- ```
---@type fun(namespace: string, name: string): string?, Error?
M.v5 = method(host.v5)

--- Returns a random one that sorts by the time it was made.
---
--- Example:
--- ```lua
--- assert(uuid.version(uuid.v7()) == 7)
--- ```
---@return string
function M.v7()
  return host.v7()
end

--- Tells whether a value is the text of a UUID: standard, without dashes, or a URN.
---
--- Example:
--- ```lua
--- assert(uuid.validate(uuid.DNS) and not uuid.validate("me"))
--- ```
---@param text any
---@return boolean
function M.validate(text)
  return standard(text) ~= nil
end

--- Returns the version, 0 to 15.
---
--- Example:
--- ```lua
--- assert(uuid.version(uuid.DNS) == 1)
--- ```
---@param text string
---@return integer? version
---@return Error? err INVALID: no UUID
function M.version(text)
  local uuid = standard(text)
  if not uuid then
    return not_one(text)
  end
  return version_of(uuid)
end

--- Returns the variant: "RFC4122", "NCS", "Microsoft" or "Future".
---
--- Example:
--- ```lua
--- assert(uuid.variant(uuid.DNS) == "RFC4122")
--- ```
---@param text string
---@return string? variant
---@return Error? err INVALID: no UUID
function M.variant(text)
  local uuid = standard(text)
  if not uuid then
    return not_one(text)
  end
  return variant_of(uuid)
end

--- What a UUID says.
---@class uuid.Parts
---@field version integer
---@field variant string
---@field timestamp? integer seconds since 1970, of versions 1 and 7
---@field node? string of version 1, as "00c04fd430c8"

local GREGORIAN = 12219292800 -- seconds from 1582-10-15 to 1970
local TICKS = 10000000 -- of 100 ns in a second

--- Returns what a UUID tells.
---
--- Example:
--- ```lua
--- local parts = uuid.parse(uuid.DNS)
--- assert(parts.version == 1 and parts.timestamp == 886630433 and parts.node == "00c04fd430c8")
--- ```
---@param text string
---@return uuid.Parts? parts
---@return Error? err INVALID: no UUID
function M.parse(text)
  local uuid = standard(text)
  if not uuid then
    return not_one(text)
  end
  local parts = { version = version_of(uuid), variant = variant_of(uuid) }
  if parts.version == 1 then
    local ticks = tonumber(sub(uuid, 16, 18) .. sub(uuid, 10, 13) .. sub(uuid, 1, 8), 16)
    parts.timestamp = ticks // TICKS - GREGORIAN
    parts.node = sub(uuid, 25)
  elseif parts.version == 7 then
    parts.timestamp = tonumber(sub(uuid, 1, 8) .. sub(uuid, 10, 13), 16) // 1000
  end
  return parts
end

--- Returns a UUID in another form: "standard", "simple" (without dashes) or "urn".
---
--- Example:
--- ```lua
--- assert(uuid.format(uuid.DNS, "simple") == "6ba7b8109dad11d180b400c04fd430c8")
--- ```
---@param text string
---@param form? "standard"|"simple"|"urn" (default: "standard")
---@return string? text
---@return Error? err INVALID: no UUID, or no such form
function M.format(text, form)
  local uuid = standard(text)
  if not uuid then
    return not_one(text)
  elseif form == nil or form == "standard" then
    return uuid
  elseif form == "simple" then
    return (gsub(uuid, "-", ""))
  elseif form == "urn" then
    return URN .. uuid
  end
  return invalid('form must be "standard", "simple" or "urn"')
end

return M
