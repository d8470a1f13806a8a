-- A handler that fails in every way there is; the job's `case` says in which.

local logger = require("logger")
local queue = require("queue")

local cases = {}

--- A raised error, a bug for example: tried again after the backoff, then dead-lettered.
function cases.raises()
  error("the printer is on fire")
end

--- An error that no retry can help: dead-lettered at once.
function cases.not_retryable()
  return nil, errors.new({ message = "no such printer", kind = errors.NOT_FOUND, retryable = false })
end

--- An error that knows better than the backoff when to try again, in seconds.
function cases.retry_after(message)
  if message:attempt() > 1 then
    return "printed"
  end
  return nil, errors.new({
    message = "the printer is warming up",
    kind = errors.RATE_LIMITED,
    retryable = true,
    details = { retry_after = 0.05 },
  })
end

--- Failed without an error, with a delay of the handler's own.
function cases.nacked(message)
  return message:nack({ delay = "10ms" })
end

--- The message itself is wrong, says the handler: dead-lettered at once, with this reason.
function cases.rejected(message)
  return message:reject("nothing to print")
end

--- What retries are for.
function cases.third_attempt(message)
  if message:attempt() < 3 then
    return nil, errors.new({ message = "out of paper", kind = errors.UNAVAILABLE, retryable = true })
  end
  return "printed"
end

local function handle(job)
  local case = cases[job.case]
  if not case then
    return nil, errors.new({
      message = "unknown case '" .. tostring(job.case) .. "'",
      kind = errors.INVALID,
      retryable = false,
    })
  end
  local result, err = case(queue.message())
  if err then
    return nil, err
  end
  if result == "printed" then
    logger.info("job done", { case = job.case })
  end
  return result
end

return handle
