local queue, logger = require("queue"), require("logger")

local function greet(body)
  logger.info("hello", {name = body.name})
end

local function main()
  queue.declare("app:greetings")                          -- memory driver unless told otherwise
  queue.consume("app:greetings", greet, {concurrency = 4})
  queue.publish("app:greetings", {name = "world"})
end

return {main = main, greet = greet}
