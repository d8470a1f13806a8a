-- Books an event, once: senders repeat what was not answered in time, queues what was not
-- acknowledged, and a customer must not be credited twice for either.

local logger = require("logger")
local store = require("store")

-- How long the sender may repeat an event, and then some.
local REMEMBERED = "720h"

local function invalid(message)
  return nil, errors.new({ message = message, kind = errors.INVALID, retryable = false })
end

-- What an event does to the balance of its account.
local SIGNS = { ["payment.received"] = 1, ["payment.refunded"] = -1 }

--- Books an event's cents and returns the new balance.
local function book(ledger, event)
  local cents = math.tointeger(event.cents)
  if type(event.account) ~= "string" or not cents or cents <= 0 then
    return invalid("a payment needs an account, and cents over 0")
  end
  return ledger:incr("balance:" .. event.account, SIGNS[event.type] * cents)
end

local function handle_event(event)
  if not SIGNS[event.type] then
    -- Senders add types as they like: one that we do not know is no failure.
    logger.info("event ignored", { event_id = event.id, type = event.type })
    return
  end
  local ledger, err = store.get("webhooks:ledger")
  if not ledger then
    return nil, err
  end
  -- Of deliveries side by side one runs the function, the others wait for it. When it fails,
  -- nothing is remembered, and the next attempt runs it again. What remains is a host that dies
  -- between the booking and its being remembered: so the function does this one thing only.
  local balance, problem, state = ledger:once("event:" .. event.id, REMEMBERED, function()
    return book(ledger, event)
  end)
  if problem then
    return nil, problem
  end
  if state == "ran" then
    logger.info("event booked", { event_id = event.id, balance = balance })
  else
    logger.info("event known", { event_id = event.id })
  end
end

return handle_event
