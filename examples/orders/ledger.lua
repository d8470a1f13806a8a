-- What the shop knows, in one store that every step and every process shares:
--
--   "stock:" .. item       how many may still be sold; changed by `incr` only, so that orders side by
--                          side never sell the same one twice
--   "order:" .. id         what has become of an order
--   "count:" .. state      how many orders have ended so
--
-- Every change is made once for an order and a step, since a message may come twice.

local store = require("store")

local M = {}

-- How long a step is remembered: longer than a dead letter waits for its replay.
local REMEMBERED = "720h"

--- Opens the books.
function M.open()
  return store.get("orders:books")
end

--- Runs a step of an order unless that was done; its result, an error, and "ran" or "done".
function M.once(books, step, order, run)
  return books:once(step .. ":" .. order.id, REMEMBERED, run)
end

--- Takes an order's goods out of the stock: "taken", or "sold out" when there are too few.
function M.take(books, order)
  local left, err = books:incr("stock:" .. order.item, -order.quantity)
  if err then
    return nil, err
  elseif left >= 0 then
    return "taken"
  end
  local _, problem = M.put_back(books, order)
  if problem then
    return nil, problem
  end
  return "sold out"
end

--- Puts an order's goods back.
function M.put_back(books, order)
  return books:incr("stock:" .. order.item, order.quantity)
end

--- Notes what has become of an order, for good, and counts it.
function M.close(books, order, state)
  local _, err = M.once(books, "closed", order, function()
    return books:incr("count:" .. state)
  end)
  if err then
    return nil, err
  end
  return books:set("order:" .. order.id, { state = state })
end

return M
