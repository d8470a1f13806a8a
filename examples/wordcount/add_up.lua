local store = require("store")

--- Adds one word to its bucket, which is read from the store when it is the first of it here.
local function add_word(totals, buckets, word, count)
  local key = word:sub(1, 3)
  local bucket = buckets[key]
  if not bucket then
    local stored, err = totals:get(key)
    if err then
      return nil, err
    end
    bucket = stored or {}
    buckets[key] = bucket
  end
  bucket[word] = (bucket[word] or 0) + count
  return true
end

--- Adds the counts of one file to the totals.
---
--- A store has no list of its keys, and one value for all words would be read and written whole for
--- every file. So words are kept by their first three letters: values stay small, and main.lua knows
--- all keys that there can be.
local function add_up(file)
  local totals, err = store.get("app:totals")
  if not totals then
    return nil, err
  end
  local buckets = {}
  for word, count in pairs(file.words) do
    local ok, problem = add_word(totals, buckets, word, count)
    if not ok then
      return nil, problem
    end
  end
  -- All reads come before the first write: what fails above can be tried again.
  for key, bucket in pairs(buckets) do
    local ok, problem = totals:set(key, bucket)
    if not ok then
      return nil, problem
    end
  end
end

return add_up
