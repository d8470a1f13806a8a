-- Step 3: sends the parcel.

local ledger = require("ledger")
local logger = require("logger")

local function ship_parcel(order)
  local books, err = ledger.open()
  if not books then
    return nil, err
  end
  local ok, problem = ledger.close(books, order, "shipped")
  if not ok then
    return nil, problem
  end
  logger.info("order shipped", { order = order.id, item = order.item })
end

return ship_parcel
