-- What operators ask for: the end of `script.lua`, which has all that it needs.

local MAX_ID = 41 -- characters of an entry ID

-- -> ready, in flight, delayed, consumers, then entry ID and meta ("" is none) of old messages.
function verbs.info()
  local _, priorities = properties(base)
  if not priorities then
    return undeclared(base)
  end
  sweep(base)
  local ready, pending, delayed = counts(base, priorities)
  local old = {}
  local function note(id, fields)
    local origin = field(fields, "_origin")
    if not origin or #origin > MAX_ID or not string.find(origin, "^%d+%-%d+$") then
      origin = id -- the field is another program's own
    end
    old[#old + 1] = {origin, field(fields, "_meta") or ""}
  end
  for _, priority in ipairs(priorities) do
    for _, entry in ipairs(call("XRANGE", stream(base, priority), "-", "+", "COUNT", 1)) do
      note(entry[1], entry[2])
    end
  end
  for _, sequence in ipairs(call("ZRANGE", base .. ":delayed", 0, 9)) do
    local packed = call("HGET", base .. ":held", sequence)
    if packed then
      note("", cmsgpack.unpack(packed)[2])
    end
  end
  local consumers = call("ZCOUNT", base .. ":consumers", "(" .. now, "+inf")
  return {ready, pending, delayed, consumers, old}
end

-- Tells whether one entry ID comes after another.
local function is_after(id, other)
  local time, number = id:match("^(%d+)-(%d+)$")
  local other_time, other_number = other:match("^(%d+)-(%d+)$")
  time, other_time = tonumber(time), tonumber(other_time)
  return time > other_time or time == other_time and tonumber(number) > tonumber(other_number)
end

-- limit, priority and entry ID of the last one that was seen ("" is none) -> priority, entry ID
-- and fields of each ready message after it, in the order of delivery.
function verbs.peek()
  local limit, last_priority, last_id = tonumber(ARGV[2]), ARGV[3], ARGV[4]
  local _, priorities = properties(base)
  if not priorities then
    return undeclared(base)
  end
  sweep(base)
  local found, is_reached = {}, last_priority == ""
  for _, priority in ipairs(priorities) do
    local key, missing = stream(base, priority), limit - #found
    local after = last_delivered(key)
    if priority == last_priority then
      is_reached, after = true, is_after(last_id, after) and last_id or after
    end
    if is_reached and missing > 0 then
      for _, entry in ipairs(call("XRANGE", key, "(" .. after, "+", "COUNT", missing)) do
        found[#found + 1] = {priority, entry[1], entry[2]}
      end
    end
  end
  return found
end

-- Takes one message that is ready from among others and adds it to those that were picked.
local function pick(priority, id)
  local key = stream(base, priority)
  local entry = is_after(id, last_delivered(key)) and call("XRANGE", key, id, id)[1]
  local expires = entry and tonumber((field(entry[2], "_expires")))
  if not entry or expires and expires <= now then
    return
  end
  local fields = entry[2]
  set_field(fields, "_priority", priority)
  if not field(fields, "_meta") and not field(fields, "_origin") then
    set_field(fields, "_origin", id)
  end
  call("XDEL", key, id)
  if expires then
    call("ZREM", base .. ":expiry", priority .. ":" .. id)
  end
  call("XADD", stream(base, PICKED), "*", unpack(fields))
end

-- consumer, then priority and entry ID of each -> those that were ready, as `fetch` returns them.
function verbs.pick()
  if not properties(base) then
    return undeclared(base)
  end
  use_priority(base, PICKED)
  for i = 3, #ARGV, 2 do
    pick(ARGV[i], ARGV[i + 1])
  end
  local key, picked = stream(base, PICKED), {}
  local reply = call("XREADGROUP", "GROUP", GROUP, ARGV[2], "STREAMS", key, ">")
  for i, entry in ipairs(reply and reply[1][2] or {}) do
    picked[i] = {PICKED, entry[1], entry[2]}
  end
  return picked
end

-- -> how many ready and delayed messages were removed.
function verbs.purge()
  local _, priorities = properties(base)
  if not priorities then
    return undeclared(base)
  end
  sweep(base)
  local removed = call("ZCARD", base .. ":delayed")
  call("DEL", base .. ":delayed", base .. ":held")
  for _, priority in ipairs(priorities) do
    local key = stream(base, priority)
    local after = "(" .. last_delivered(key)
    repeat
      local ids = {}
      for i, entry in ipairs(call("XRANGE", key, after, "+", "COUNT", 100)) do
        ids[i] = entry[1]
      end
      removed = removed + (ids[1] and call("XDEL", key, unpack(ids)) or 0)
    until not ids[1]
  end
  return removed
end

return verbs[ARGV[1]]()
