-- What the task is about; the handler adds the numbers up.
local payload = { 1, 2, 3 }

local queue = require("queue")

queue.publish("app.queue:tasks", {
    id = "task-123",
    action = "process",
    data = payload
})
