-- Runs once, when the consumers are up. What it returns becomes the exit status.

local queue = require("queue")

local function main(name)
  local ok, err = queue.publish("app:greetings", { name = name or "world" })
  if not ok then
    return nil, err
  end
end

return { main = main }
