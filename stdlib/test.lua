--- Assertions, for functions with `meta: {type: test}`, which `wippy-lua test` calls.
---
--- What does not hold raises an error that says what was expected, what was there, and where.

local host, vm = ...

local error, getmetatable, next, pairs, rawequal = error, getmetatable, next, pairs, rawequal
local math_type, tostring, type = math.type, tostring, type
local text, try = vm.text, vm.try

---@class test
local M = {}

local MAX_STRING = 200 -- bytes of a string that are shown
local MAX_ITEMS = 12 -- of a table
local MAX_LEVELS = 4 -- of tables in tables

---------------------------------------------------------------------------------------------------
-- Showing values

local function quoted(value)
  local cut = #value > MAX_STRING
  local shown = (cut and value:sub(1, MAX_STRING) or value):gsub('[%c"\\\127-\255]', function(char)
    local escapes = { ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r", ['"'] = '\\"', ["\\"] = "\\\\" }
    return escapes[char] or char:byte() < 128 and ("\\%d"):format(char:byte()) or char
  end)
  return '"' .. shown .. (cut and '"...' or '"')
end

-- Numbers by value, then all else by text: what is shown is the same each time.
local function sorted_keys(value)
  local keys = {}
  for key in next, value do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(left, right)
    if type(left) == "number" and type(right) == "number" then
      return left < right
    elseif type(left) ~= type(right) then
      return type(left) < type(right)
    end
    return tostring(left) < tostring(right)
  end)
  return keys
end

local show

local function show_table(value, level)
  if level > MAX_LEVELS then
    return "{...}"
  end
  local parts, length = {}, #value
  for index, key in ipairs(sorted_keys(value)) do
    if index > MAX_ITEMS then
      parts[index] = "..."
      break
    end
    local item = show(value[key], level + 1)
    if math_type(key) == "integer" and key >= 1 and key <= length then
      parts[index] = item
    elseif type(key) == "string" and key:find("^[%a_][%w_]*$") then
      parts[index] = key .. " = " .. item
    else
      parts[index] = "[" .. show(key, level + 1) .. "] = " .. item
    end
  end
  return "{" .. table.concat(parts, ", ") .. "}"
end

function show(value, level)
  if type(value) == "string" then
    return quoted(value)
  elseif type(value) == "table" and getmetatable(value) == nil then
    return show_table(value, level or 1)
  end
  return text(value)
end

local function type_of(value)
  local facts = vm.facts(value)
  if facts then
    return facts.kind == "" and "error" or facts.kind .. " error"
  end
  return math_type(value) or type(value)
end

local function described(value)
  return value == nil and "nil" or show(value) .. " (" .. type_of(value) .. ")"
end

---------------------------------------------------------------------------------------------------
-- Comparing values

local function step(path, key)
  if type(key) == "string" and key:find("^[%a_][%w_]*$") then
    return path .. "." .. key
  end
  return path .. "[" .. show(key) .. "]"
end

-- Objects of the host are what they are; tables of scripts are what they hold.
local function is_compared_by_content(left, right)
  if type(left) ~= "table" or type(right) ~= "table" then
    return false
  end
  local metatable = getmetatable(left)
  return metatable ~= false and rawequal(metatable, getmetatable(right))
end

-- Returns the way to the first difference and both values there; nil when there is none.
local function difference(got, expected, path, seen)
  if got == expected or seen[got] == expected and expected ~= nil then
    return nil
  elseif not is_compared_by_content(got, expected) then
    return path, got, expected
  end
  seen[got] = expected
  for _, key in ipairs(sorted_keys(expected)) do
    local where, left, right = difference(got[key], expected[key], step(path, key), seen)
    if where then
      return where, left, right
    end
  end
  for _, key in ipairs(sorted_keys(got)) do
    if expected[key] == nil then
      return step(path, key), got[key], nil
    end
  end
end

local function is_same(left, right)
  local where = difference(left, right, "", {})
  return where == nil
end

---------------------------------------------------------------------------------------------------
-- Assertions

local function fail(problem, message)
  local place = vm.script_place()
  local said = message ~= nil and text(message) .. ": " or ""
  error((place == "" and "" or place .. ": ") .. said .. problem, 0)
end

--- Asserts that two values are equal: tables when all they hold is, numbers whatever their subtype.
---
--- Example:
--- ```lua
--- test.equal(1 + 1, 2)
--- test.equal({items = {1, 2}}, {items = {1, 2}}, "the order's items")
--- ```
---@param got any
---@param expected any
---@param message? string said before what differs
function M.equal(got, expected, message)
  local where, left, right = difference(got, expected, "", {})
  if where then
    local at = where == "" and "" or "at " .. where .. ": "
    fail(at .. "expected " .. described(right) .. ", got " .. described(left), message)
  end
end

--- Asserts that two values are not equal, as `equal` compares them.
---
--- Example:
--- ```lua
--- test.not_equal({1, 2}, {2, 1})
--- ```
---@param got any
---@param unexpected any
---@param message? string
function M.not_equal(got, unexpected, message)
  if is_same(got, unexpected) then
    fail("expected anything but " .. described(unexpected), message)
  end
end

--- Asserts that a value is neither nil nor false, and returns its arguments: around a call it says
--- what error came back.
---
--- Example:
--- ```lua
--- local value = test.ok(json.decode("[1]"))
--- ```
---@param value any
---@param err? any the error that a function returned as its second value, or what to say
---@param ... any
---@return any value
---@return any ...
function M.ok(value, err, ...)
  if not value then
    fail("expected a true value, got " .. described(value) .. (err == nil and "" or ": " .. text(err)))
  end
  return value, err, ...
end

--- Asserts that a value is nil.
---
--- Example:
--- ```lua
--- local value, err = json.decode("null")
--- test.is_nil(err)
--- ```
---@param value any
---@param message? string
function M.is_nil(value, message)
  if value ~= nil then
    fail("expected nil, got " .. described(value), message)
  end
end

local function holds(whole, part)
  if type(whole) == "string" then
    return type(part) == "string" and whole:find(part, 1, true) ~= nil
  end
  for _, value in pairs(whole) do
    if is_same(value, part) then
      return true
    end
  end
  return false
end

--- Asserts that a string has a part, or that one of a table's values equals one.
---
--- Example:
--- ```lua
--- test.contains("out of paper", "paper")
--- test.contains({{id = 1}, {id = 2}}, {id = 2})
--- ```
---@param whole string|table
---@param part any
---@param message? string
function M.contains(whole, part, message)
  if type(whole) ~= "string" and type(whole) ~= "table" then
    fail("expected a string or a table, got " .. described(whole), message)
  elseif not holds(whole, part) then
    fail("expected " .. described(part) .. " in " .. described(whole), message)
  end
end

--- Asserts that a value is an error of a kind, and returns it.
---
--- Example:
--- ```lua
--- local value, err = json.decode("")
--- test.error_kind(err, errors.INVALID)
--- ```
---@param err any
---@param kind errors.Kind
---@param message? string
---@return Error err
function M.error_kind(err, kind, message)
  local facts = vm.facts(err)
  if not facts or facts.kind ~= kind then
    fail("expected an error of kind " .. show(kind) .. ", got " .. described(err), message)
  end
  return err
end

--- Asserts that a function raises an error, and returns that.
---
--- Example:
--- ```lua
--- local err = test.throws(function() error("out of paper") end, "paper")
--- ```
---@param fn fun()
---@param expected? string the error's kind, or a part of its text (default: any error)
---@param message? string
---@return any err
function M.throws(fn, expected, message)
  local ok, err = try(fn)
  if ok then
    fail("expected an error, and the function raised none", message)
  elseif expected ~= nil then
    local facts = vm.facts(err)
    if not (facts and facts.kind == expected or holds(text(err), expected)) then
      fail("expected an error with " .. show(expected) .. ", got " .. described(err), message)
    end
  end
  return err
end

local MILLISECOND = 1000000 -- in nanoseconds
local FIRST_PAUSE, LONGEST_PAUSE = MILLISECOND, 50 * MILLISECOND

--- Asserts that a function returns neither nil nor false within a time, and returns that value. It
--- is called again and again meanwhile; an error that it raises counts as not yet.
---
--- Example:
--- ```lua
--- local started = time.now()
--- test.eventually(function() return time.now():sub(started) > time.MILLISECOND end, "1s")
--- ```
---@param fn fun(): any
---@param timeout? string|number (default: "5s")
---@param message? string
---@return any value
function M.eventually(fn, timeout, message)
  timeout = timeout == nil and "5s" or timeout
  local seconds, err = host.seconds(timeout)
  if not seconds then
    error(err, 2)
  end
  local deadline, pause = host.now() + seconds, FIRST_PAUSE
  while true do
    local ok, value = try(fn)
    if ok and value then
      return value
    elseif host.now() >= deadline then
      local last = ok and "the last value was " .. described(value) or "the last error was " .. text(value)
      fail("it did not happen within " .. text(timeout) .. ": " .. last, message)
    end
    host.sleep(pause)
    pause = pause < LONGEST_PAUSE and pause * 2 or LONGEST_PAUSE
  end
end

-- As the outcome of a function: raised, a nil or false with an error, an error, or just false.
local function problem_of(ok, first, second)
  if not ok then
    return first == nil and "nil was raised" or first
  elseif second ~= nil and (vm.facts(second) or not first) then
    return second
  end
  return first == false and "the case returned false" or nil
end

--- Runs one case of a test, which is reported by itself: when it fails, those after it still run.
--- Outside of `wippy-lua test` it is a plain call.
---
--- Example:
--- ```lua
--- test.case("an empty text", function()
---   test.error_kind(select(2, json.decode("")), errors.INVALID)
--- end)
--- ```
---@param name string
---@param fn fun() as a handler: what it raises, and `nil, err`, fail the case
---@return boolean? passed
function M.case(name, fn)
  if type(name) ~= "string" or name == "" then
    error("test.case: name must be a non-empty string", 2)
  elseif type(fn) ~= "function" then
    error("test.case: the second argument must be a function", 2)
  end
  local is_watched, err = host.begin(name)
  if err then
    error(err, 2)
  elseif not is_watched then
    fn()
    return true
  end
  local ok, first, second = try(fn)
  local problem = problem_of(ok, first, second)
  if problem == nil then
    host.finish()
    return true
  end
  local facts = vm.facts(problem)
  local stack = facts and facts.stack or not ok and second or ""
  host.finish(text(problem), facts and facts.kind or "", stack)
  return false
end

return M
