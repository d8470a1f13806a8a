-- Tests the handler through its queue: `wippy-lua test examples/tasks`.

local funcs = require("funcs")
local json = require("json")
local queue = require("queue")
local test = require("test")

local function main()
  test.case("a task is added up", function()
    local task = json.encode({id = "task-1", action = "process", data = {1, 2, 3}})
    local result = test.ok(funcs.call("app.queue:task_handler", task))
    test.equal(result, {id = "task-1", total = 6})
  end)

  test.case("a task of an action that nobody knows is refused", function()
    local task = json.encode({id = "task-2", action = "paint"})
    local _, err = funcs.call("app.queue:task_handler", task)
    test.contains(test.error_kind(err, errors.INVALID):message(), "'paint'")
  end)

  test.case("what is published is handled", function()
    test.ok(queue.publish("app.queue:tasks", {id = "task-3", action = "process", data = {1}}))
    test.eventually(function()
      return queue.info("app.queue:tasks").message_count == 0
    end)
  end)
end

return {main = main}
