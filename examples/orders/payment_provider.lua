-- Plays the payment provider, with cards for every answer as real ones have them for tests. With
-- PROVIDER=down in the host's environment it cannot be reached at all.

local env = require("env")
local store = require("store")

local cards = {}

function cards.good(charge)
  return { receipt = "receipt-" .. charge.key, cents = charge.cents }
end

--- Too many calls, says the provider the first time, and when to come again, in seconds.
function cards.busy(charge)
  local books, err = store.get("orders:books")
  if not books then
    return nil, err
  end
  local calls, problem = books:incr("provider_calls:" .. charge.key)
  if problem then
    return nil, problem
  elseif calls == 1 then
    return nil, errors.new({
      message = "too many charges at once",
      kind = errors.RATE_LIMITED,
      retryable = true,
      details = { retry_after = 0.3 },
    })
  end
  return cards.good(charge)
end

function cards.declined()
  return nil, errors.new({ message = "card declined", kind = errors.INVALID, retryable = false })
end

local function charge(request)
  if env.get("PROVIDER") == "down" then
    return nil, errors.new({
      message = "the payment provider cannot be reached",
      kind = errors.UNAVAILABLE,
      retryable = true,
    })
  end
  local card = cards[request.card]
  if not card then
    return nil, errors.new({ message = "no such card", kind = errors.INVALID, retryable = false })
  end
  return card(request)
end

return charge
