-- A store's verbs, each one step on the server: ARGV[1] with the key, and what else it takes.
--
-- A key is a string: a number as Redis counts it, "v" before any other packed value, or "c" before
-- the token of a claim. A time is milliseconds; 0 is for ever.

local verb, key = ARGV[1], KEYS[1]
local VALUE_ABSENT = { [""] = true, c = true }

local function has_value()
  return not VALUE_ABSENT[redis.call("GETRANGE", key, 0, 0)]
end

local function put(value, ttl)
  if ttl == "0" then
    redis.call("SET", key, value)
  else
    redis.call("SET", key, value, "PX", ttl)
  end
end

local verbs = {}

function verbs.has()
  return has_value() and 1 or 0
end

function verbs.delete()
  return has_value() and redis.call("DEL", key) or 0
end

function verbs.set_if_absent(value, ttl)
  if has_value() then
    return 0
  end
  put(value, ttl)
  return 1
end

function verbs.incr(by, ttl)
  if has_value() then
    redis.call("INCRBY", key, by)
  else
    put(by, ttl)
  end
  return redis.call("GET", key) -- as text: a script's numbers have 53 bits
end

--- Answers with the value that there is, with the milliseconds of another's claim, or 0: claimed.
function verbs.claim(claim, lease)
  local found = redis.call("GET", key)
  if not found or found == claim then
    put(claim, lease)
    return 0
  elseif string.sub(found, 1, 1) ~= "c" then
    return found
  end
  return math.max(redis.call("PTTL", key), 1)
end

function verbs.renew(claim, lease)
  if redis.call("GET", key) ~= claim then
    return 0
  end
  return redis.call("PEXPIRE", key, lease)
end

function verbs.finish(claim, value, ttl)
  local found = redis.call("GET", key)
  if found and found ~= claim then
    return 0
  end
  put(value, ttl)
  return 1
end

function verbs.free(claim)
  if redis.call("GET", key) == claim then
    redis.call("DEL", key)
  end
  return 0
end

return verbs[verb](unpack(ARGV, 2))
