-- Step 2: charges the card of an order. The kind of an error says what to do about it:
--
--   RATE_LIMITED   comes back when the provider says, by the error's `retry_after`
--   UNAVAILABLE    comes back after the backoff; after the last attempt it is a dead letter, which
--                  is replayed when the provider is well again. The goods stay reserved.
--   INVALID        no attempt will help: the order is refused and its goods go back

local funcs = require("funcs")
local ledger = require("ledger")
local logger = require("logger")
local queue = require("queue")

--- Undoes the reservation of an order that will not be paid. Nothing has failed here, so its
--- message is done with: it is no dead letter.
local function refuse(books, order, reason)
  local _, err = ledger.once(books, "release", order, function()
    return ledger.put_back(books, order)
  end)
  if err then
    return nil, err
  end
  logger.warn("order refused", { order = order.id, reason = reason })
  return ledger.close(books, order, "refused")
end

local function charge_card(order)
  local books, err = ledger.open()
  if not books then
    return nil, err
  end
  local receipt, problem = ledger.once(books, "charge", order, function()
    -- The key lets the provider know a repeated charge: the host may die while it answers.
    return funcs.call("orders:payment_provider", {
      key = order.id,
      card = order.card,
      cents = order.cents,
    })
  end)
  if receipt then
    return queue.publish("orders:ship", order)
  elseif errors.is(problem, errors.INVALID) then
    return refuse(books, order, problem:message())
  end
  return nil, problem
end

return charge_card
