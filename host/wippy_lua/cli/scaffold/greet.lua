-- Handles one message: returning settles it, an error brings it back after a while.

local logger = require("logger")

local function main(body)
  if type(body) ~= "table" or not body.name then
    error(errors.new({ message = "a greeting needs a name", kind = errors.INVALID, retryable = false }))
  end
  logger.info("hello", { name = body.name })
end

return { main = main }
