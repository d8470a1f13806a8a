"""The texts of the queue system's specification: entries, a handler and a publisher."""

ENTRIES = (
    """\
- name: memory_driver
  kind: queue.driver.memory
  lifecycle:
    auto_start: true
""",
    """\
- name: tasks
  kind: queue.queue
  driver: app.queue:memory_driver
""",
    """\
- name: task_consumer
  kind: queue.consumer
  queue: app.queue:tasks
  func: app.queue:task_handler
  concurrency: 4
  prefetch: 20
  lifecycle:
    auto_start: true
    depends_on:
      - app.queue:tasks
""",
    """\
- name: task_handler
  kind: function.lua
  source: file://task_handler.lua
  modules:
    - json
    - logger
""",
)

HANDLER = """\
local json = require("json")
local logger = require("logger")

local function handler(body)
    local data = json.decode(body)

    logger.info("Processing", {task_id = data.id})

    local result, err = process_task(data)
    if err then
        return nil, err  -- Nack: requeue message
    end

    return result  -- Ack: remove from queue
end

return handler
"""

PUBLISHER = """\
local queue = require("queue")

queue.publish("app.queue:tasks", {
    id = "task-123",
    action = "process",
    data = payload
})
"""
