-- Locations: what clocks show where. A part of `time`.

local vm = ...

local error, setmetatable = error, setmetatable

--- A time zone. It never changes; `tostring` returns its name.
---@class time.Location
local Location = {}

local metatable = vm.read_only("time.Location", Location)
local names = setmetatable({}, { __mode = "k" }) -- location -> its name
local offsets = setmetatable({}, { __mode = "k" }) -- fixed location -> seconds east of UTC

local function new(name, offset)
  local location = vm.protect(setmetatable({}, metatable))
  names[location], offsets[location] = name, offset
  return location
end

--- Returns the name: "UTC", "Local", "Europe/Paris", or what `fixed_zone` was given.
---
--- Example:
--- ```lua
--- assert(time.utc:string() == "UTC")
--- ```
---@return string
function Location:string()
  return names[self] or error("not a time.Location: call its methods with ':'", 2)
end

function metatable.__tostring(self)
  return names[self]
end

function metatable.__eq(left, right)
  return names[left] == names[right] and offsets[left] == offsets[right]
end

-- Returns what the host knows a location by, a name and an offset; nil for what is none.
local function zone_of(location)
  return names[location], offsets[location]
end

return { new = new, zone_of = zone_of, utc = new("UTC"), localtz = new("Local") }
