-- Prints what has become of all orders, and what is left on the shelves.

local logger = require("logger")
local queue = require("queue")
local store = require("store")

local function read(books, keys)
  local values = {}
  for name, key in pairs(keys) do
    local value, err = books:get(key)
    if err then
      return nil, err
    end
    values[name] = value or 0
  end
  return values
end

local function main()
  local books, err = store.get("orders:books")
  if not books then
    return nil, err
  end
  local counts, problem = read(books, {
    placed = "orders",
    shipped = "count:shipped",
    refused = "count:refused",
    sold_out = "count:sold_out",
    tea_left = "stock:tea",
    cake_left = "stock:cake",
  })
  if not counts then
    return nil, problem
  end
  local failed
  failed, problem = queue.info("orders:failed")
  if not failed then
    return nil, problem
  end
  counts.dead_letters = failed.ready
  logger.info("orders", counts)
end

return { main = main }
