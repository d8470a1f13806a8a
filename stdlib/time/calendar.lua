-- Points and locations from names, numbers and texts. A part of `time`, which says what each returns.

local host, vm, points, locations = ...

local type, unpack = type, table.unpack
local invalid = vm.invalid

local SECOND = 1000000000 -- nanoseconds
local DAY = 86400 -- seconds

local calendar = {}

function calendar.load_location(name)
  if type(name) ~= "string" then
    return invalid("name must be a string, not a " .. type(name))
  elseif name == "" or name == "UTC" then
    return locations.utc
  elseif name == "Local" then
    return locations.localtz
  end
  local ok, err = host.check_zone(name)
  if not ok then
    return nil, err
  end
  return locations.new(name)
end

function calendar.fixed_zone(name, offset)
  local seconds = points.whole(offset)
  if type(name) ~= "string" then
    return invalid("name must be a string, not a " .. type(name))
  elseif not seconds or seconds <= -DAY or seconds >= DAY then
    return invalid("offset must be whole seconds, less than a day")
  end
  return locations.new(name, seconds)
end

-- Returns what the host knows a location by, UTC for nil; nil and an error for what is none.
local function zone_of(location)
  local name, offset = locations.zone_of(location == nil and locations.utc or location)
  if not name then
    local _, err = invalid("location must be a time.Location, not a " .. type(location))
    return nil, nil, err
  end
  return name, offset
end

function calendar.unix(seconds, nanoseconds)
  local second, nanosecond = points.whole(seconds), points.whole(nanoseconds or 0)
  if not (second and nanosecond) then
    return invalid("seconds and nanoseconds must be integers")
  end
  return points.new(second, nanosecond, locations.utc)
end

local function integers(...)
  local values = { ... }
  for i = 1, 7 do
    values[i] = points.whole(values[i] or 0)
    if not values[i] then
      return nil
    end
  end
  return values
end

function calendar.date(year, month, day, hour, minute, second, nanosecond, location)
  local values = year and month and day and integers(year, month, day, hour, minute, second, nanosecond)
  if not values then
    return invalid("year, month, day, hour, minute, second and nanosecond must be integers")
  end
  local name, offset, err = zone_of(location)
  if not name then
    return nil, err
  end
  local y, mo, d, h, mi, s, ns = unpack(values, 1, 7)
  s = s + ns // SECOND
  local unix
  unix, err = host.date(y, mo, d, h, mi, s, name, offset)
  if not unix then
    return nil, err
  end
  return points.new(unix, ns % SECOND, location or locations.utc)
end

-- The location that the host found in a text: the one that was given, where it is that.
local function found_location(name, offset, given)
  local given_name, given_offset = locations.zone_of(given)
  if name == given_name and offset == given_offset then
    return given
  elseif offset == nil then
    return locations.utc
  end
  return locations.new(name, offset)
end

function calendar.parse(layout, text, location)
  if type(layout) ~= "string" or type(text) ~= "string" then
    return invalid("layout and text must be strings")
  end
  local name, offset, err = zone_of(location)
  if not name then
    return nil, err
  end
  local second, nanosecond
  second, nanosecond, name, offset = host.parse(layout, text, name, offset)
  if not second then
    return nil, nanosecond
  end
  return points.new(second, nanosecond, found_location(name, offset, location or locations.utc))
end

return calendar
