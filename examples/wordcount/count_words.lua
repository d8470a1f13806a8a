local queue = require("queue")

--- Counts the words of one file and hands the counts on.
local function count_words(text)
  local words = {}
  for word in text:lower():gmatch("%a+") do
    words[word] = (words[word] or 0) + 1
  end
  local path = queue.message():header("path")
  local ok, err = queue.publish("app:counts", { path = path, words = words }, nil, { timeout = "1m" })
  if not ok then
    return nil, err
  end
end

return count_words
