-- Counts the words of every Python file below a folder: reads and publishes the files, waits until
-- the handlers have counted, and reports the totals.

local fs = require("fs")
local logger = require("logger")
local queue = require("queue")
local store = require("store")
local time = require("time")

local LETTERS = "abcdefghijklmnopqrstuvwxyz"
local IGNORED = { ["site-packages"] = true, ["dist-packages"] = true, __pycache__ = true }

--- Publishes one file's text, as it is.
local function publish(sources, path, counted)
  local text, err = sources:readfile(path)
  if not text then
    return nil, err
  end
  local ok
  ok, err = queue.publish("app:files", text, { path = path }, { timeout = "1m" })
  if not ok then
    return nil, err
  end
  counted.files = counted.files + 1
  counted.bytes = counted.bytes + #text
  return true
end

local function is_wanted(path, part)
  return path:sub(-3) == ".py" and (not part or path:find(part, 1, true) ~= nil)
end

--- Publishes every wanted file of a folder and of those below it.
local function walk(sources, folder, part, counted)
  local entries, err = sources:readdir(folder)
  if not entries then
    return nil, err
  end
  for entry in entries do
    local path = folder .. "/" .. entry.name
    local ok, problem = true, nil
    if entry.type == "directory" and not IGNORED[entry.name] then
      ok, problem = walk(sources, path, part, counted)
    elseif entry.type == "file" and is_wanted(path, part) then
      ok, problem = publish(sources, path, counted)
    end
    if not ok then
      return nil, errors.wrap(problem, path)
    end
  end
  return true
end

--- Waits until a queue is empty and none of its messages is being handled.
local function wait_until_empty(id)
  while true do
    local info, err = queue.info(id)
    if not info then
      return nil, err
    elseif info.message_count == 0 then
      return true
    end
    time.sleep("20ms")
  end
end

--- Returns everything that a word can begin with: one letter, when it has no more, or two.
local function prefixes()
  local all = {}
  for first in LETTERS:gmatch(".") do
    all[#all + 1] = first
    for second in LETTERS:gmatch(".") do
      all[#all + 1] = first .. second
    end
  end
  return all
end

local function by_frequency(a, b)
  if a.count ~= b.count then
    return a.count > b.count
  end
  return a.word < b.word
end

--- Appends the words with one prefix and their counts to `words`.
local function collect_prefix(totals, prefix, words)
  local list, err = totals:get("words:" .. prefix)
  if err then
    return nil, err
  end
  for _, word in ipairs(list or {}) do
    local count, problem = totals:get("count:" .. word)
    if not count then
      return nil, problem or "no count for '" .. word .. "'"
    end
    words[#words + 1] = { word = word, count = count }
  end
  return true
end

--- Returns every word with its count, most frequent first; add_up.lua says how they are stored.
local function collect()
  local totals, err = store.get("app:totals")
  if not totals then
    return nil, err
  end
  local words = {}
  for _, prefix in ipairs(prefixes()) do
    local ok, problem = collect_prefix(totals, prefix, words)
    if not ok then
      return nil, problem
    end
  end
  table.sort(words, by_frequency)
  return words
end

local function report(top, words, counted, seconds)
  local sum = 0
  for _, each in ipairs(words) do
    sum = sum + each.count
  end
  for rank = 1, math.min(top, #words) do
    logger.info("top word", { rank = rank, word = words[rank].word, count = words[rank].count })
  end
  logger.info("words counted", {
    files = counted.files,
    bytes = counted.bytes,
    words = sum,
    distinct = #words,
    seconds = seconds,
    messages_per_second = 2 * counted.files / seconds,
    megabytes_per_second = counted.bytes / 1e6 / seconds,
  })
end

--- Refuses totals that a dead letter is missing from.
local function check_failed(counted)
  local failed, err = queue.info("app:failed")
  if not failed then
    return nil, err
  elseif failed.ready > 0 then
    return nil, failed.ready .. " messages could not be counted: see the log"
  end
  return counted
end

--- Publishes the files and returns once all their words are in the totals.
local function count(part)
  local sources, err = fs.get("app:sources")
  if not sources then
    return nil, err
  end
  local counted = { files = 0, bytes = 0 }
  local ok
  ok, err = walk(sources, ".", part, counted)
  if not ok then
    return nil, err
  end
  -- In this order: a file leaves its queue only after its counts are in the next one.
  for _, id in ipairs({ "app:files", "app:counts" }) do
    ok, err = wait_until_empty(id)
    if not ok then
      return nil, err
    end
  end
  return check_failed(counted)
end

--- `top` is how many of the most frequent words to show; `part` limits the files to those with
--- this text in their path.
local function main(top, part)
  top = math.tointeger(tonumber(top or 10))
  if not top then
    return nil, "usage: wippy-lua run examples/wordcount --drain -- [TOP [PART-OF-PATH]]"
  end
  local started = time.now():unix_nano()
  local counted, err = count(part)
  if not counted then
    return nil, err
  end
  local words
  words, err = collect()
  if not words then
    return nil, err
  end
  report(top, words, counted, (time.now():unix_nano() - started) / time.SECOND)
end

return { main = main }
