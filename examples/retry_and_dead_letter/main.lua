local queue = require("queue")

local CASES = {
  "raises",
  "not_retryable",
  "retry_after",
  "nacked",
  "rejected",
  "third_attempt",
  "misspelt",
}

local function main()
  for _, case in ipairs(CASES) do
    local ok, err = queue.publish("app:jobs", { case = case })
    if not ok then
      return nil, err
    end
  end
end

return { main = main }
