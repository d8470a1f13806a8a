-- A test: `wippy-lua test` calls it while the app's consumers run, with all queues in memory.

local queue, test = require("queue"), require("test")

local function main()
  test.case("a greeting is handled", function()
    test.ok(queue.publish("app:greetings", { name = "Ada" }))
    test.eventually(function()
      return queue.info("app:greetings").message_count == 0
    end)
    test.equal(queue.info("app:failed_greetings").ready, 0)
  end)

  test.case("a greeting without a name is not tried again", function()
    test.ok(queue.publish("app:greetings", { nam = "Ada" }))
    test.eventually(function()
      return queue.info("app:failed_greetings").ready == 1
    end)
  end)
end

return { main = main }
