--- Messages: publish them, look at the one being handled, and declare queues from Lua.

local host, vm = ...

local next, type = next, type
local codec, null, pack, unpack, unhooked = vm.codec, vm.null, vm.pack, vm.unpack, vm.unhooked

---@class queue
local M = {}

-- The host's names for how a body is written.
local TEXT, JSON, MSGPACK = 0, 1, 2

local invalid = vm.invalid

---@alias queue.Headers table<string, string|number|boolean>

--- How a message is published.
---@class queue.PublishOptions
---@field delay? string|number before it can be delivered: "30s", or seconds (default: 0)
---@field ttl? string|number how long it is worth delivering, delay included (default: for ever)
---@field id? string the message's ID (default: one that no other message has)
---@field timeout? string|number how long to wait for room or for the broker (default: 10s)

---------------------------------------------------------------------------------------------------
-- Publishing

local kinds = {} -- queue ID -> how its table bodies are written; a queue's codec never changes

local function kind_of(id)
  local name, err = host.codec(id)
  if not name then
    return nil, err
  end
  kinds[id] = name == "json/plain" and JSON or MSGPACK
  return kinds[id]
end

local function encode(id, data)
  local kind = kinds[id]
  if not kind then
    local err
    kind, err = kind_of(id)
    if not kind then
      return nil, err
    end
  end
  if type(data) == "string" then
    return data, TEXT
  elseif data == nil then
    return invalid("data is missing")
  elseif type(data) == "table" and next(data) == nil and data ~= null and not codec.is_object(data) then
    return invalid("data is an empty table")
  end
  local body, problem, marker = unhooked(kind == JSON and codec.json_encode or codec.msgpack_encode, data)
  if not body then
    return nil, vm.error("data: " .. problem, marker == "internal" and "Internal" or "Invalid", false)
  end
  return body, kind
end

local function pack_table(name, value)
  if type(value) ~= "table" then
    return invalid(name .. " must be a table")
  end
  if next(value) == nil then
    return nil
  end
  return pack(value)
end

local function pack_both(headers, options)
  local packed_headers, packed_options, err
  if headers ~= nil then
    packed_headers, err = pack_table("headers", headers)
    if err then
      return nil, nil, err
    end
  end
  if options ~= nil then
    packed_options, err = pack_table("options", options)
  end
  return packed_headers, packed_options, err
end

--- Publishes one message. Blocks until the message is safe by its driver's standard.
---
--- `data` reaches the handler with its types: a string as it is, every byte of it; anything else
--- by the queue's codec. Errors: INVALID (no queue ID, no data, an empty table, bad headers or
--- options, too large, not allowed), NOT_FOUND (no such queue), UNAVAILABLE (full, or the broker
--- cannot be reached: a retry can help), TIMEOUT, INTERNAL.
---
--- Example:
--- ```lua
--- local ok, err = queue.publish("app.queue:tasks", {id = 7}, {priority = 5}, {delay = "10s"})
--- if not ok then return nil, err end
--- ```
---@param id string the queue's ID
---@param data any
---@param headers? queue.Headers keys that begin with `x_` are reserved
---@param options? queue.PublishOptions
---@return true? ok
---@return Error? err
---@return string? message_id
function M.publish(id, data, headers, options)
  if type(id) ~= "string" or id == "" then
    return invalid("queue ID must be a non-empty string")
  end
  local body, kind = encode(id, data)
  if not body then
    return nil, kind
  end
  local message_id, err
  if headers == nil and options == nil then
    message_id, err = host.publish(id, body, kind)
  else
    local packed_headers, packed_options
    packed_headers, packed_options, err = pack_both(headers, options)
    if err then
      return nil, err
    end
    message_id, err = host.publish(id, body, kind, packed_headers, packed_options)
  end
  if not message_id then
    return nil, err
  end
  return true, nil, message_id
end

--- Publishes a list of messages with the same headers and options, in one go where the driver can.
---
--- When some were not stored: `nil, err`, and `err:details().failed` lists their indexes.
---
--- Example:
--- ```lua
--- local ok, err = queue.publish_many("app.queue:tasks", {{id = 1}, {id = 2}})
--- ```
---@param id string
---@param list any[]
---@param headers? queue.Headers
---@param options? queue.PublishOptions without `id`
---@return true? ok
---@return Error? err
---@return string[]? message_ids
function M.publish_many(id, list, headers, options)
  if type(id) ~= "string" or id == "" then
    return invalid("queue ID must be a non-empty string")
  end
  if type(list) ~= "table" or #list == 0 then
    return invalid("publish_many needs a list of at least one message")
  end
  local bodies, body_kinds = {}, {}
  for i = 1, #list do
    local body, kind = encode(id, list[i])
    if not body then
      return nil, kind
    end
    bodies[i], body_kinds[i] = body, string.char(kind)
  end
  local packed_headers, packed_options, err = pack_both(headers, options)
  if err then
    return nil, err
  end
  local ids
  ids, err =
    host.publish_many(id, pack(bodies), table.concat(body_kinds), packed_headers, packed_options)
  if not ids then
    return nil, err
  end
  return true, nil, unpack(ids)
end

--- The counts of a queue.
---@class queue.Info
---@field ready integer messages that a consumer could get now
---@field message_count? integer ready, in flight and delayed together; nil where the broker cannot tell, as below
---@field in_flight? integer delivered and not settled
---@field delayed? integer waiting for their time
---@field consumer_count? integer
---@field oldest_age? number seconds since the oldest message that is not settled was published
---@field approximate boolean whether the broker guesses

--- Returns the counts of a queue.
---
--- Example:
--- ```lua
--- logger.info("backlog", {ready = queue.info("app.queue:tasks").ready})
--- ```
---@param id string
---@return queue.Info? info
---@return Error? err
function M.info(id)
  if type(id) ~= "string" or id == "" then
    return invalid("queue ID must be a non-empty string")
  end
  local packed, err = host.info(id)
  if not packed then
    return nil, err
  end
  return unpack(packed)
end

---------------------------------------------------------------------------------------------------
-- The message being handled

--- One delivery of a message. Settling is single-shot: the first of `ack`, `nack`, `snooze` and
--- `reject` wins over the handler's result and over every later call, which gets INVALID.
---@class queue.Message
local Message = {}

local metatable = { __index = Message, __name = "queue.Message", __metatable = false }
local owners = setmetatable({}, { __mode = "k" }) -- message -> the call that it belongs to

local function released(message)
  if owners[message] == vm.serial() then
    return nil
  end
  return vm.error("queue.Message released", "Invalid", false)
end

--- Makes a method that answers INVALID once the handler has returned.
local function method(call)
  return function(self, argument)
    local err = released(self)
    if err then
      return nil, err
    end
    return call(argument)
  end
end

--- Makes a method that takes no argument of a host function.
local function getter(host_function)
  return method(function()
    return host_function()
  end)
end

local function is_duration(value)
  return type(value) == "string" or type(value) == "number"
end

--- Returns the message that this call handles; INVALID where there is none.
---
--- Example:
--- ```lua
--- local msg = queue.message()
--- if msg:attempt() > 3 then return msg:reject("tried three times") end
--- ```
---@return queue.Message? message
---@return Error? err
function M.message()
  if not host.has_message() then
    return invalid("no delivery in context: this call handles no message")
  end
  local message = setmetatable({}, metatable)
  owners[message] = vm.serial()
  return message
end

--- Returns the message's ID.
---
--- Example:
--- ```lua
--- local msg = queue.message()
--- logger.info("got it", {id = msg:id()})
--- ```
---@type fun(self: queue.Message): string?, Error?
Message.id = getter(host.message_id)

--- Returns the number of this delivery, from 1.
---
--- Example:
--- ```lua
--- local msg = queue.message()
--- assert(msg:attempt() == 1)
--- ```
---@type fun(self: queue.Message): integer?, Error?
Message.attempt = getter(host.attempt)

--- Returns one header, or nil when it was not set.
---
--- Example:
--- ```lua
--- local msg = queue.message()
--- local tenant = msg:header("tenant") or "nobody"
--- ```
---@type fun(self: queue.Message, key: string): string|number|boolean|nil, Error?
Message.header = method(function(key)
  if type(key) ~= "string" then
    return invalid("header key must be a string")
  end
  local packed, err = host.header(key)
  if err then
    return nil, err
  end
  return packed and unpack(packed)
end)

--- Returns all headers.
---
--- Example:
--- ```lua
--- local msg = queue.message()
--- local ok, err = queue.publish("app:mails", {to = "me"}, msg:headers())
--- ```
---@type fun(self: queue.Message): queue.Headers?, Error?
Message.headers = method(function()
  local packed, err = host.headers()
  if err then
    return nil, err
  end
  return unpack(packed)
end)

--- Settles the message as handled.
---
--- Example:
--- ```lua
--- local msg = queue.message()
--- msg:ack() -- what fails from here on does not bring the message back
--- ```
---@type fun(self: queue.Message): true?, Error?
Message.ack = getter(host.ack)

--- How a message comes back.
---@class queue.NackOptions
---@field delay? string|number before the next attempt (default: the consumer's backoff)

--- Settles the message as failed: it comes back after a delay, or is dead-lettered when this was
--- its last attempt.
---
--- Example:
--- ```lua
--- local msg = queue.message()
--- msg:nack({delay = "30s"})
--- ```
---@type fun(self: queue.Message, options?: queue.NackOptions): true?, Error?
Message.nack = method(function(options)
  if options ~= nil and type(options) ~= "table" then
    return invalid("options must be a table")
  end
  local delay = options and options.delay
  if delay ~= nil and not is_duration(delay) then
    return invalid("delay must be a duration such as \"30s\", or seconds")
  end
  return host.nack(delay)
end)

--- Gives the message back for `delay` without spending the attempt.
---
--- Example:
--- ```lua
--- local msg = queue.message()
--- msg:snooze("5m")
--- ```
---@type fun(self: queue.Message, delay: string|number): true?, Error?
Message.snooze = method(function(delay)
  if not is_duration(delay) then
    return invalid("delay must be a duration such as \"30s\", or seconds")
  end
  return host.snooze(delay)
end)

--- Settles the message as never to be handled: it goes to the dead-letter queue, or, where there
--- is none, comes back after the longest backoff.
---
--- Example:
--- ```lua
--- local msg = queue.message()
--- msg:reject("unknown customer")
--- ```
---@type fun(self: queue.Message, reason?: string): true?, Error?
Message.reject = method(function(reason)
  return host.reject(reason ~= nil and vm.text(reason) or nil)
end)

--- Tells whether the consumer is stopping: finish soon, or return and let the message come back.
---
--- Example:
--- ```lua
--- local msg = queue.message()
--- for part = 1, 10 do
---   if msg:cancelled() then return msg:snooze(0) end
--- end
--- ```
---@type fun(self: queue.Message): boolean?, Error?
Message.cancelled = getter(host.cancelled)

--- Keeps the message for at least `duration` more, where the driver has a lease that could run
--- out. The host does that by itself while the handler runs.
---
--- Example:
--- ```lua
--- local msg = queue.message()
--- msg:extend("5m")
--- ```
---@type fun(self: queue.Message, duration: string|number): true?, Error?
Message.extend = method(function(duration)
  if not is_duration(duration) then
    return invalid("duration must be a duration such as \"30s\", or seconds")
  end
  return host.extend(duration)
end)

---------------------------------------------------------------------------------------------------
-- Declaring from Lua

--- What a queue is declared with.
---@class queue.Config
---@field driver? string a driver's ID (default: a memory driver of the host's own)
---@field codec? "json/plain"|"application/msgpack" (default: "json/plain")
---@field max_message_size? string|integer (default: "16MiB")
---@field options? table options for whatever driver, such as `max_length`
---@field dead_letter? {queue: string, max_attempts: integer}

--- Declares a queue, as an entry of kind `queue.queue` does. The same again is fine; with another
--- configuration it is a CONFLICT.
---
--- Example:
--- ```lua
--- queue.declare("app:mails", {options = {max_length = 100}})
--- ```
---@param id string "namespace:name"
---@param config? queue.Config
---@return true? ok
---@return Error? err
function M.declare(id, config)
  if type(id) ~= "string" or id == "" then
    return invalid("queue ID must be a non-empty string")
  end
  if config ~= nil and type(config) ~= "table" then
    return invalid("config must be a table")
  end
  local packed, err
  if config then
    packed, err = pack(config)
    if not packed then
      return nil, err
    end
  end
  return host.declare(id, packed)
end

--- What a consumer is started with.
---@class queue.ConsumeConfig
---@field concurrency? integer handlers at a time, 1 to 1000 (default: 1)
---@field prefetch? integer messages held ready beyond those, 0 to 10000 (default: 10)
---@field auto_ack? boolean settle on delivery: at most once (default: false)
---@field timeout? string|number for one call (default: "10m")
---@field retry? table initial_delay, max_delay, backoff_factor, jitter

local function consume(id, module, name, config)
  local packed, err
  if config then
    packed, err = pack(config)
    if not packed then
      return nil, err
    end
  end
  local consumer_id
  consumer_id, err = host.consume(id, module, name, packed)
  if not consumer_id then
    return nil, err
  end
  return true, nil, consumer_id
end

--- Starts a consumer, as an entry of kind `queue.consumer` does.
---
--- Workers load the handler's module in VMs of their own, so the handler must be a function that
--- its module exports: one in the table that `main.lua` or a module returns. A name works as well:
--- `"handlers.mail"` is what that module returns, `"handlers.mail.send"` a function of it.
---
--- Example:
--- ```lua
--- queue.consume("app:mails", send_mail, {concurrency = 4})
--- ```
---@param id string the queue's ID
---@param handler function|string
---@param config? queue.ConsumeConfig
---@return true? ok
---@return Error? err
---@return string? consumer_id nil when called before `main.lua` has returned: it starts then
function M.consume(id, handler, config)
  if type(id) ~= "string" or id == "" then
    return invalid("queue ID must be a non-empty string")
  end
  if config ~= nil and type(config) ~= "table" then
    return invalid("config must be a table")
  end
  if type(handler) == "string" then
    return consume(id, handler, "", config)
  elseif type(handler) ~= "function" then
    return invalid("handler must be a function, or the name of a module or of a function in one")
  end
  return vm.when_loaded(function()
    local module, name = vm.export_of(handler)
    if not module then
      return invalid("the handler of '" .. id .. "' is not exported: return it in the table of its module")
    end
    return consume(id, module, name, config)
  end)
end

return M
