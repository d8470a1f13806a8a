-- A dead letter is the message itself, with headers that say what became of it.

local logger = require("logger")
local queue = require("queue")

local function report(job)
  local message = queue.message()
  logger.error("job failed for good", {
    case = job.case,
    from = message:header("x_original_queue"),
    reason = message:header("x_dead_letter_reason"),
    error = message:header("x_error"),
    error_kind = message:header("x_error_kind"),
    attempts = message:header("x_attempts"),
  })
end

return report
