local logger = require("logger")
local stats = require("stats")

local function handle_order(order)
  logger.info("order handled", { item = order.item })
  -- Functions of the embedding program answer like those of the host: nil and an error.
  local _, err = stats.count_handled()
  if err then
    return nil, err
  end
end

return handle_order
