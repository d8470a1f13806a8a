--- Structured errors: a message with a kind, a hint whether a retry can help, and details.
---
--- The host's functions return them as `nil, err`; a handler that returns or raises one decides by
--- it what becomes of its message: `retryable = false` goes to the dead-letter queue at once, and
--- `details.retry_after` (seconds) replaces the usual backoff.
---
--- The module is the global `errors` as well.

local _, vm = ...

local error, rawget, setmetatable, tostring, type = error, rawget, setmetatable, tostring, type
local metatable_of, text, traceback = vm.metatable_of, vm.text, vm.traceback

---@class errors
local M = {
  NOT_FOUND = "NotFound",
  ALREADY_EXISTS = "AlreadyExists",
  INVALID = "Invalid",
  PERMISSION_DENIED = "PermissionDenied",
  UNAVAILABLE = "Unavailable",
  INTERNAL = "Internal",
  CANCELED = "Canceled",
  CONFLICT = "Conflict",
  TIMEOUT = "Timeout",
  RATE_LIMITED = "RateLimited",
  UNKNOWN = "",
}

---@alias errors.Kind
---| "NotFound"
---| "AlreadyExists"
---| "Invalid"
---| "PermissionDenied"
---| "Unavailable"
---| "Internal"
---| "Canceled"
---| "Conflict"
---| "Timeout"
---| "RateLimited"
---| ""

--- An error with its facts. `tostring` and `..` show its context and message.
---@class Error
local Error = {}

local kinds = {}
for _, kind in pairs(M) do
  kinds[kind] = true
end

--- One frame of a traceback.
---@class errors.Frame
---@field source string file of the frame, or "[C]"
---@field line integer
---@field name string what ran there, as a traceback says it

-- Returns what is known of an error; nil for anything else. The facts of an error are its own
-- metatable, which no script gets hold of. (In a table with weak keys a chain of errors, each in the
-- details of the next, would cost a garbage collection time in proportion to its length squared.)
local function facts_in(value)
  local facts = metatable_of(value)
  return facts and rawget(facts, "__index") == Error and facts or nil
end
vm.facts = facts_in

local function show(err)
  local facts = facts_in(err)
  if facts.context then
    return facts.context .. ": " .. facts.message
  end
  return facts.message
end

local function join(left, right)
  return tostring(left) .. tostring(right)
end

-- `level` is where the stack begins, 2 for the caller: what calls this as a tail call is gone.
local function create(message, kind, retryable, details, context, level)
  return setmetatable({}, {
    __index = Error,
    __name = "error",
    __metatable = false,
    __tostring = show,
    __concat = join,
    message = message,
    kind = kind,
    retryable = retryable,
    details = details,
    context = context,
    stack = traceback(level),
  })
end

--- Makes an error for a library function; `details` is a table or nil.
function vm.error(message, kind, retryable, details)
  return create(message, kind, retryable, details, nil, 3)
end

--- What an error is made of.
---@class errors.Options
---@field message string
---@field kind? errors.Kind (default: `errors.UNKNOWN`)
---@field retryable? boolean whether trying again can help (default: nil, not known)
---@field details? table anything that helps; `retry_after` is seconds

--- Makes an error.
---
--- Example:
--- ```lua
--- return nil, errors.new({message = "no such user", kind = errors.NOT_FOUND, retryable = false})
--- ```
---@param message string|errors.Options
---@return Error
function M.new(message)
  if type(message) ~= "table" then
    return create(text(message), M.UNKNOWN, nil, nil, nil, 2)
  end
  local options = message
  if type(options.message) ~= "string" then
    error("errors.new: message must be a string", 2)
  end
  if options.kind ~= nil and not kinds[options.kind] then
    error("errors.new: unknown kind '" .. tostring(options.kind) .. "'", 2)
  end
  if options.details ~= nil and type(options.details) ~= "table" then
    error("errors.new: details must be a table", 2)
  end
  if options.retryable ~= nil and type(options.retryable) ~= "boolean" then
    error("errors.new: retryable must be true, false or nil", 2)
  end
  return create(options.message, options.kind or M.UNKNOWN, options.retryable, options.details, nil, 2)
end

--- Adds context to an error; kind, retryable and details stay, and so does `message()`.
---
--- Example:
--- ```lua
--- return nil, errors.wrap(errors.new("declined"), "charging the card")
--- ```
---@param err any an error, or anything that becomes the message of a new one
---@param context string shown before the message by `tostring`
---@return Error
function M.wrap(err, context)
  local inner = facts_in(err)
  context = text(context)
  if not inner then
    return create(text(err), M.UNKNOWN, nil, nil, context, 2)
  end
  if inner.context then
    context = context .. ": " .. inner.context
  end
  return create(inner.message, inner.kind, inner.retryable, inner.details, context, 2)
end

--- Tells whether `err` is an error of this kind.
---
--- Example:
--- ```lua
--- local err = errors.new({message = "no such user", kind = errors.NOT_FOUND})
--- if errors.is(err, errors.NOT_FOUND) then return nil end
--- ```
---@param err any
---@param kind errors.Kind
---@return boolean
function M.is(err, kind)
  local inner = facts_in(err)
  return inner ~= nil and inner.kind == kind
end

--- Returns where an error was made, innermost frame first; nil for anything else.
---
--- Example:
--- ```lua
--- local err = errors.new("broken")
--- local frame = errors.call_stack(err)[1]
--- logger.warn("failed", {source = frame.source, line = frame.line})
--- ```
---@param err any
---@return errors.Frame[]?
function M.call_stack(err)
  local inner = facts_in(err)
  if not inner then
    return nil
  end
  local frames = {}
  for source, line, name in inner.stack:gmatch("\n%s*([^\n]-):(%d+): in ([^\n]*)") do
    frames[#frames + 1] = { source = source, line = math.tointeger(line), name = name }
  end
  return frames
end

local function facts_of(err)
  return facts_in(err) or error("an error's methods are called with a colon, as in err:kind()", 3)
end

--- Returns the error's kind.
---
--- Example:
--- ```lua
--- local err = errors.new({message = "no such user", kind = errors.NOT_FOUND})
--- assert(err:kind() == errors.NOT_FOUND)
--- ```
---@return errors.Kind
function Error:kind()
  return facts_of(self).kind
end

--- Returns the message, without the context that `wrap` added.
---
--- Example:
--- ```lua
--- local err = errors.wrap("card declined", "charging")
--- assert(err:message() == "card declined" and tostring(err) == "charging: card declined")
--- ```
---@return string
function Error:message()
  return facts_of(self).message
end

--- Tells whether a retry can help; nil when that is not known.
---
--- Example:
--- ```lua
--- local err = errors.new({message = "no such user", retryable = false})
--- assert(err:retryable() == false)
--- ```
---@return boolean?
function Error:retryable()
  return facts_of(self).retryable
end

--- Returns the details, or nil when there are none.
---
--- Example:
--- ```lua
--- local err = errors.new({message = "slow down", details = {retry_after = 30}})
--- assert(err:details().retry_after == 30)
--- ```
---@return table?
function Error:details()
  return facts_of(self).details
end

--- Returns the traceback of the place where the error was made.
---
--- Example:
--- ```lua
--- local err = errors.new("broken")
--- logger.error("it failed", {stack = err:stack()})
--- ```
---@return string
function Error:stack()
  return facts_of(self).stack
end

return M
