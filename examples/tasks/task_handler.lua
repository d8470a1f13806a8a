--- Does what a task asks for; an action that nobody knows is an error, and its message comes back.
local function process_task(task)
  if task.action ~= "process" then
    return nil, errors.new({
      message = "unknown action '" .. tostring(task.action) .. "'",
      kind = errors.INVALID,
    })
  end
  local total = 0
  for _, number in ipairs(task.data) do
    total = total + number
  end
  return { id = task.id, total = total }
end

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
