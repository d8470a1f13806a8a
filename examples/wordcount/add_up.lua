-- Adds the counts of one file to the totals in the store:
--
--   "count:" .. word       how often the word was found in all files
--   "words:" .. prefix     a list of the words that begin with these letters, one or two
--
-- A store has no list of its keys. One value for all counts would need none, but would be read and
-- written whole for every file; a list changes only when a new word comes.

local store = require("store")

local function append(totals, key, words)
  local list, err = totals:get(key)
  if err then
    return nil, err
  end
  list = list or {}
  table.move(words, 1, #words, #list + 1, list)
  return totals:set(key, list)
end

--- Returns the new totals of a file's words, and those words that have none yet, by their prefix.
local function sum_up(totals, words)
  local sums, new = {}, {}
  for word, count in pairs(words) do
    local total, err = totals:get("count:" .. word)
    if err then
      return nil, err
    end
    if not total then
      local prefix = word:sub(1, 2)
      new[prefix] = new[prefix] or {}
      table.insert(new[prefix], word)
    end
    sums[word] = (total or 0) + count
  end
  return sums, new
end

local function add_up(file)
  local totals, err = store.get("app:totals")
  if not totals then
    return nil, err
  end
  -- All reads come before the first write: what fails here can be tried again.
  local sums, new = sum_up(totals, file.words)
  if not sums then
    return nil, new
  end
  for prefix, words in pairs(new) do
    local ok, problem = append(totals, "words:" .. prefix, words)
    if not ok then
      return nil, problem
    end
  end
  for word, total in pairs(sums) do
    local ok, problem = totals:set("count:" .. word, total)
    if not ok then
      return nil, problem
    end
  end
end

return add_up
