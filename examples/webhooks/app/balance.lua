-- Returns the cents that the events of an account have come to. server.py calls it for a page.

local store = require("store")

local function balance(account)
  local ledger, err = store.get("webhooks:ledger")
  if not ledger then
    return nil, err
  end
  local cents, problem = ledger:get("balance:" .. account)
  if problem then
    return nil, problem
  end
  return cents or 0
end

return balance
