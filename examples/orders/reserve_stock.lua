-- Step 1: takes the goods of an order out of the stock.

local ledger = require("ledger")
local logger = require("logger")
local queue = require("queue")

local function reserve_stock(order)
  local books, err = ledger.open()
  if not books then
    return nil, err
  end
  local result, problem = ledger.once(books, "reserve", order, function()
    return ledger.take(books, order)
  end)
  if problem then
    return nil, problem
  end
  if result == "sold out" then
    logger.info("order sold out", { order = order.id, item = order.item })
    return ledger.close(books, order, "sold_out")
  end
  -- Outside of `once`: who comes here a second time, since the host died before the message was
  -- acknowledged, may not have come this far. The next step does nothing twice either.
  return queue.publish("orders:charge", order)
end

return reserve_stock
