-- Writes the welcome of one new user, and sends it.

local logger = require("logger")
local mail = require("mail")
local queue = require("queue")

local SUBJECT = "Welcome, %s"
local TEXT = [[
Hello %s,

your account is ready.
]]

local function welcome(signup)
  -- Delivery is at least once, so a mail may be sent again: the message's ID makes the second one
  -- the same mail, not another.
  local id = queue.message():id()
  local _, err = mail.send(
    id,
    signup.email,
    SUBJECT:format(signup.name),
    TEXT:format(signup.name)
  )
  if err then
    return nil, err
  end
  logger.info("welcome sent", { to = signup.email })
end

return welcome
