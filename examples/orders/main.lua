-- Fills the shelves of a new shop and places orders, one of each sort in turn.

local queue = require("queue")
local store = require("store")

local USAGE = "usage: wippy-lua run examples/orders --drain -- [ORDERS]"
local STOCK = { tea = 100, cake = 3 }

-- Two cakes an order, and three on the shelf: the second such order finds too few.
local SORTS = {
  { item = "tea", quantity = 1, cents = 450, card = "good" },
  { item = "tea", quantity = 2, cents = 900, card = "busy" },
  { item = "tea", quantity = 3, cents = 1350, card = "declined" },
  { item = "cake", quantity = 2, cents = 2400, card = "good" },
}

local function fill_shelves(books)
  for item, count in pairs(STOCK) do
    local _, err = books:set_if_absent("stock:" .. item, count)
    if err then
      return nil, err
    end
  end
  return true
end

local function place_order(books, sort)
  local number, err = books:incr("orders")
  if not number then
    return nil, err
  end
  return queue.publish("orders:reserve", {
    id = "order-" .. number,
    item = sort.item,
    quantity = sort.quantity,
    cents = sort.cents,
    card = sort.card,
  })
end

local function main(count)
  count = math.tointeger(tonumber(count or 2 * #SORTS))
  if not count or count < 0 then
    return nil, USAGE
  end
  local books, err = store.get("orders:books")
  if not books then
    return nil, err
  end
  local ok
  ok, err = fill_shelves(books)
  if not ok then
    return nil, err
  end
  for number = 1, count do
    ok, err = place_order(books, SORTS[(number - 1) % #SORTS + 1])
    if not ok then
      return nil, err
    end
  end
end

return { main = main }
