-- Timers, tickers and their channels. A part of `time`.
--
-- Nothing runs for them: each knows when its next event is due, and who receives it sleeps until
-- then. So they cost no more than their tables, and end with nobody's help.

local host, vm, durations, point_of = ...

local error, max, setmetatable = error, math.max, setmetatable
local invalid, nanoseconds_of = vm.invalid, durations.nanoseconds_of

local YEAR = 365 * 24 * 3600 * 1000000000

-- object -> its source: when the next event is due on the host's monotonic clock, nil when none will
-- be; and how far apart they are, nil for a single one.
local sources = setmetatable({}, { __mode = "k" })

local function source_of(self, class)
  return sources[self] or error("not a " .. class .. ": call its methods with ':'", 3)
end

-- Returns the nanoseconds of a duration that one can wait for, or nil and an INVALID error.
local function span(duration, least)
  local nanoseconds, err = nanoseconds_of(duration)
  if not nanoseconds then
    return nil, err
  elseif nanoseconds < least or nanoseconds > YEAR then
    return invalid(("duration must be %s, and at most 365 days"):format(least > 0 and "over 0" or "0 or more"))
  end
  return nanoseconds
end

-- Tells whether an event is still to come.
local function is_pending(source)
  return source.due ~= nil and host.monotonic() < source.due
end

local function stop(source)
  local pending = is_pending(source)
  source.due = nil
  return pending
end

local function reset(source, duration, least)
  local nanoseconds, err = span(duration, least)
  if not nanoseconds then
    return nil, err
  end
  local pending = is_pending(source)
  source.due = host.monotonic() + nanoseconds
  source.every = source.every and nanoseconds
  return pending
end

---------------------------------------------------------------------------------------------------

--- What the events of a timer, of a ticker or of `time.after` come through. It holds one: a ticker
--- drops what would come while one waits to be received.
---@class time.Channel
local Channel = {}

local channel_metatable = vm.read_only("time.Channel", Channel)

local function new_channel(source)
  local channel = vm.protect(setmetatable({}, channel_metatable))
  sources[channel] = source
  return channel
end

--- Waits for the next event, and returns when it came; other handlers run meanwhile.
---
--- A call whose time runs out while it waits ends there, as in `time.sleep`. CANCELED: nothing will
--- come, since it was stopped, or its only event was received.
---
--- Example:
--- ```lua
--- local started = time.now()
--- local at = time.after("1ms"):receive()
--- assert(at:sub(started) >= time.parse_duration("1ms"))
--- ```
---@return time.Time? at
---@return Error? err
function Channel:receive()
  local source = source_of(self, "time.Channel")
  local due = source.due
  if not due then
    return nil, vm.error("nothing will come: stopped, or received", "Canceled", false)
  end
  local now = host.monotonic()
  if now < due then
    host.sleep(due - now)
    now = max(due, host.monotonic())
  end
  local late = now - due
  source.due = source.every and due + (late // source.every + 1) * source.every
  return point_of(host.now() - late)
end

---------------------------------------------------------------------------------------------------

local channels = setmetatable({}, { __mode = "k" }) -- timer or ticker -> its channel

local function new_source(nanoseconds, every)
  return { due = host.monotonic() + nanoseconds, every = every }
end

local function new_object(metatable, source)
  local object = vm.protect(setmetatable({}, metatable))
  sources[object], channels[object] = source, new_channel(source)
  return object
end

--- One event to come.
---@class time.Timer
local Timer = {}

local timer_metatable = vm.read_only("time.Timer", Timer)

--- Returns the channel that its event comes through.
---
--- Example:
--- ```lua
--- local timer = time.timer("1ms")
--- assert(timer:channel():receive())
--- ```
---@return time.Channel
function Timer:channel()
  source_of(self, "time.Timer")
  return channels[self]
end

--- Lets nothing come; true when the event was still to come.
---
--- Example:
--- ```lua
--- local timer = time.timer("1h")
--- assert(timer:stop() == true)
--- assert(timer:stop() == false)
--- ```
---@return boolean
function Timer:stop()
  local source = source_of(self, "time.Timer")
  return stop(source)
end

--- Lets the event come after this duration instead; true when it was still to come.
---
--- Example:
--- ```lua
--- local timer = time.timer("1h")
--- assert(timer:reset("1ms") == true)
--- assert(timer:channel():receive())
--- ```
---@param duration time.Span
---@return boolean? was_pending
---@return Error? err INVALID
function Timer:reset(duration)
  local source = source_of(self, "time.Timer")
  return reset(source, duration, 0)
end

--- Events that come again and again.
---@class time.Ticker
local Ticker = {}

local ticker_metatable = vm.read_only("time.Ticker", Ticker)

--- Returns the channel that its events come through.
---
--- Example:
--- ```lua
--- local channel = time.ticker("1ms"):channel()
--- assert(channel:receive() < channel:receive())
--- ```
---@return time.Channel
function Ticker:channel()
  source_of(self, "time.Ticker")
  return channels[self]
end

--- Lets nothing come any more; true when an event was still to come. A ticker that nobody stops
--- costs nothing.
---
--- Example:
--- ```lua
--- local ticker = time.ticker("1h")
--- assert(ticker:stop() == true)
--- local _, err = ticker:channel():receive()
--- assert(err:kind() == errors.CANCELED)
--- ```
---@return boolean
function Ticker:stop()
  local source = source_of(self, "time.Ticker")
  return stop(source)
end

--- Lets events come this far apart from now on, also after `stop`; true when one was still to come.
---
--- Example:
--- ```lua
--- local ticker = time.ticker("1h")
--- ticker:reset("1ms")
--- assert(ticker:channel():receive())
--- ```
---@param duration time.Span over 0
---@return boolean? was_pending
---@return Error? err INVALID
function Ticker:reset(duration)
  local source = source_of(self, "time.Ticker")
  return reset(source, duration, 1)
end

---------------------------------------------------------------------------------------------------

local function after(duration)
  local nanoseconds, err = span(duration, 0)
  if not nanoseconds then
    return nil, err
  end
  return new_channel(new_source(nanoseconds))
end

local function timer(duration)
  local nanoseconds, err = span(duration, 0)
  if not nanoseconds then
    return nil, err
  end
  return new_object(timer_metatable, new_source(nanoseconds))
end

local function ticker(duration)
  local nanoseconds, err = span(duration, 1)
  if not nanoseconds then
    return nil, err
  end
  return new_object(ticker_metatable, new_source(nanoseconds, nanoseconds))
end

return { after = after, timer = timer, ticker = ticker }
