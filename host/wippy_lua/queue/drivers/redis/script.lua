-- Everything that the redis driver does to a queue on the server, one verb per call. What only
-- operators ask for is in `operators.lua`: the two files are one script.
--
-- KEYS[1] is the queue's base key, `prefix:{name}`; ARGV[1] the verb. All keys of a queue are the
-- base key with a suffix, so that they share its hash tag and live in one slot:
--
--   (none)      stream of the ready messages of priority 0; other programs may XADD to it
--   :1 ... :9   streams of the other priorities, made when they are first used
--   :p          stream of messages that an operator has picked from among others: all are pending
--   :delayed    sorted set of sequence numbers, by the time at which something happens to them
--   :held       hash of the delayed messages, by sequence number
--   :expiry     sorted set of "priority:stream ID" of messages with a time to live
--   :consumers  sorted set of attached consumers, by the time at which they count as lost
--   :bell       stream of one entry that wakes one blocked reader
--   :sent:...   the last publish call of one writer and what it stored, for some minutes
--   :meta       hash: format, max_length (0 is none), priorities (in use, highest first, p for
--               picked), sequence
--
-- An attempt is one stream entry: whatever gives a message back adds it anew and deletes the old
-- entry in the same call. So the ID of an entry is the fence: a late settlement finds nothing.
-- A pending entry counts as one attempt that nobody has written down yet.
-- All times are milliseconds of the server's clock; no host's clock matters.

local GROUP = "wippy"
local FORMAT = "1"
local READ_BYTES = 4194304 -- bytes that one fetch brings, more only in its last message
local FIRST_READ = 8
local ENTRY_BYTES = 200 -- what a message takes beside its body, about
local LARGEST_CREDIT = 100000
local REMEMBERED = 600000 -- milliseconds; a writer tries no longer than its publishers wait
local BATCH = 1000 -- messages that one call moves, so that a flood does not hold up the server

local call = redis.call
local base = KEYS[1]
local clock = call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local PICKED = "p" -- stands for the priority of what was picked

local function stream(queue, priority)
  return priority == "0" and queue or queue .. ":" .. priority
end

-- Returns the bound on length, and the priorities in use from the highest to 0.
local function properties(queue)
  local found = call("HMGET", queue .. ":meta", "max_length", "priorities")
  if not found[1] then
    return nil
  end
  local priorities = {}
  for digit in (found[2] or ""):gmatch("[%dp]") do
    priorities[#priorities + 1] = digit
  end
  priorities[#priorities + 1] = "0"
  return tonumber(found[1]), priorities
end

local function create_group(key, from)
  local reply = redis.pcall("XGROUP", "CREATE", key, GROUP, from, "MKSTREAM")
  if reply.err and not reply.err:find("BUSYGROUP", 1, true) then
    call("XGROUP", "CREATE", key, GROUP, from, "MKSTREAM") -- raises the same error
  end
end

local function use_priority(queue, priority)
  local used = call("HGET", queue .. ":meta", "priorities") or ""
  if used:find(priority, 1, true) then
    return
  end
  create_group(stream(queue, priority), "0")
  local digits = {priority}
  for digit in used:gmatch(".") do
    digits[#digits + 1] = digit
  end
  table.sort(digits, function(a, b) return a > b end)
  call("HSET", queue .. ":meta", "priorities", table.concat(digits))
end

-- Wakes a reader that waits for something else than an entry of priority 0.
local function ring(queue)
  call("XADD", queue .. ":bell", "MAXLEN", 1, "*", "ring", "1")
end

local function field(fields, name)
  for i = 1, #fields, 2 do
    if fields[i] == name then
      return fields[i + 1], i + 1
    end
  end
end

local function set_field(fields, name, value)
  local _, place = field(fields, name)
  if place then
    fields[place] = value
  else
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
end

local function hold(queue, priority, fields, expires, due)
  -- What expires before it is due is looked at when it expires, so that counts are exact.
  local when = math.min(due, expires or due)
  -- Of two that are due at the same time the one added first comes first: members sort as text.
  local sequence = ("%016d"):format(call("HINCRBY", queue .. ":meta", "sequence", 1))
  call("HSET", queue .. ":held", sequence, cmsgpack.pack({priority, fields, due}))
  call("ZADD", queue .. ":delayed", when, sequence)
  if call("ZRANK", queue .. ":delayed", sequence) == 0 then
    ring(queue)
  end
end

-- Adds a message at the tail of its priority, or holds it until it is due.
local function put(queue, priority, fields, due)
  local expires = tonumber((field(fields, "_expires")))
  if expires and expires <= now then
    return
  end
  if due > now then
    hold(queue, priority, fields, expires, due)
    return
  end
  if priority ~= "0" then
    use_priority(queue, priority)
    ring(queue)
  end
  local id = call("XADD", stream(queue, priority), "*", unpack(fields))
  if expires then
    call("ZADD", queue .. ":expiry", expires, priority .. ":" .. id)
  end
end

-- Takes an entry out of its stream; returns its fields, nil when it was settled before.
local function withdraw(queue, priority, id)
  local key = stream(queue, priority)
  -- First of all writes: once a script has written, a full memory does not refuse its additions.
  if call("XACK", key, GROUP, id) == 0 then
    return nil
  end
  local entry = call("XRANGE", key, id, id)[1]
  call("XDEL", key, id)
  if entry and field(entry[2], "_expires") then
    call("ZREM", queue .. ":expiry", priority .. ":" .. id)
  end
  return entry and entry[2]
end

-- Adds a withdrawn message again, with the attempts that are spent.
local function give_back(queue, priority, id, fields, attempts, due)
  set_field(fields, "_attempts", tostring(attempts))
  if not field(fields, "_meta") and not field(fields, "_origin") then
    fields[#fields + 1] = "_origin" -- another program's message is known by its first entry
    fields[#fields + 1] = id
  end
  put(queue, priority == PICKED and field(fields, "_priority") or priority, fields, due)
end

local function wake_delayed(queue)
  local due = call("ZRANGEBYSCORE", queue .. ":delayed", "-inf", now, "LIMIT", 0, BATCH)
  for _, sequence in ipairs(due) do
    local packed = call("HGET", queue .. ":held", sequence)
    call("ZREM", queue .. ":delayed", sequence)
    call("HDEL", queue .. ":held", sequence)
    if packed then
      local item = cmsgpack.unpack(packed)
      put(queue, item[1], item[2], item[3])
    end
  end
end

local function drop_expired(queue)
  local expired = call("ZRANGEBYSCORE", queue .. ":expiry", "-inf", now, "LIMIT", 0, BATCH)
  for _, member in ipairs(expired) do
    local priority, id = member:match("^(%d):(.+)$")
    local key = stream(queue, priority)
    call("ZREM", queue .. ":expiry", member)
    -- What a handler holds does not expire; giving it back looks at the expiry again.
    if #call("XPENDING", key, GROUP, id, id, 1) == 0 then
      call("XDEL", key, id)
    end
  end
end

-- Lets happen what was due by now.
local function sweep(queue)
  wake_delayed(queue)
  drop_expired(queue)
end

local function counts(queue, priorities)
  local length, pending = 0, 0
  for _, priority in ipairs(priorities) do
    local key = stream(queue, priority)
    length = length + call("XLEN", key)
    pending = pending + call("XPENDING", key, GROUP)[1]
  end
  local held = call("ZCARD", queue .. ":delayed")
  local due = call("ZCOUNT", queue .. ":delayed", "-inf", now) -- more than one sweep moves
  return math.max(length - pending, 0) + due, pending, held - due
end

local function last_delivered(key)
  for _, group in ipairs(call("XINFO", "GROUPS", key)) do
    if field(group, "name") == GROUP then
      return field(group, "last-delivered-id")
    end
  end
end

local function undeclared(queue)
  return redis.error_reply("UNDECLARED " .. queue)
end

local verbs = {}

-- max_length, create ("1" or "0") -> format, max_length; nil when there is no such queue.
function verbs.declare()
  local max_length, create = ARGV[2], ARGV[3]
  local kind = call("TYPE", base).ok
  if kind ~= "none" and kind ~= "stream" then
    return redis.error_reply("NOTASTREAM " .. base .. " is a " .. kind)
  end
  local meta = base .. ":meta"
  if call("EXISTS", meta) == 0 then
    if create == "0" and kind == "none" then
      return nil
    end
    call("HSET", meta, "format", FORMAT, "max_length", create == "1" and max_length or "0")
  end
  local _, priorities = properties(base)
  for _, priority in ipairs(priorities) do
    create_group(stream(base, priority), "0")
  end
  create_group(base .. ":bell", "$")
  return call("HMGET", meta, "format", "max_length")
end

-- writer, number of its call; then per message priority, delay, time to live ("" is none), body
-- and meta -> how many were stored.
function verbs.publish()
  local max_length, priorities = properties(base)
  if not max_length then
    return undeclared(base)
  end
  local writer, number = base .. ":sent:" .. ARGV[2], ARGV[3]
  local last, result = (call("GET", writer) or ""):match("^(%d+) (%d+)$")
  if last == number then
    return tonumber(result) -- stored before the connection broke
  end
  local room = math.huge
  if max_length > 0 then
    sweep(base)
    local ready, _, delayed = counts(base, priorities)
    room = max_length - ready - delayed
  end
  local stored = 0
  for i = 4, #ARGV, 5 do
    if stored >= room then
      break
    end
    local priority, delay, ttl, body, meta = unpack(ARGV, i, i + 4)
    local fields = {"body", body, "_meta", meta}
    if ttl ~= "" then
      fields[5], fields[6] = "_expires", tostring(now + ttl)
    end
    put(base, priority, fields, now + delay)
    stored = stored + 1
  end
  call("SET", writer, number .. " " .. stored, "PX", REMEMBERED)
  return stored
end

-- Adds to `batch` what there is of a priority, until it holds enough.
local function read(priority, consumer, batch)
  local key = stream(base, priority)
  while #batch.taken < batch.limit and batch.bytes < READ_BYTES do
    -- Sizes are known only once a message is read, so that the first read of a batch is small.
    local average = batch.seen > 0 and batch.bytes / batch.seen or READ_BYTES / FIRST_READ
    local fitting = math.max(math.floor((READ_BYTES - batch.bytes) / average), 1)
    local count = math.min(batch.limit - #batch.taken, fitting)
    local reply = call("XREADGROUP", "GROUP", GROUP, consumer, "COUNT", count, "STREAMS", key, ">")
    if not reply then
      return
    end
    for _, entry in ipairs(reply[1][2]) do
      local expires = tonumber((field(entry[2], "_expires")))
      batch.seen = batch.seen + 1
      batch.bytes = batch.bytes + #entry[2][2] + ENTRY_BYTES
      if expires and expires <= now then
        withdraw(base, priority, entry[1]) -- one of more than a sweep drops
      else
        batch.taken[#batch.taken + 1] = {priority, entry[1], entry[2]}
      end
    end
  end
end

-- consumer, limit, bell ID ("" is none) -> milliseconds to the next delayed message (-1 is
-- none, 0 is to fetch again), then for each message priority, entry ID, fields.
function verbs.fetch()
  local consumer, limit, bell = ARGV[2], ARGV[3], ARGV[4]
  local _, priorities = properties(base)
  if not priorities then
    return undeclared(base)
  end
  if bell ~= "" then
    call("XACK", base .. ":bell", GROUP, bell)
  end
  sweep(base)
  local batch = {taken = {}, limit = tonumber(limit), bytes = 0, seen = 0}
  local taken, beyond_zero = batch.taken, 0
  for _, priority in ipairs(priorities) do
    read(priority, consumer, batch)
    beyond_zero = priority ~= "0" and #taken or beyond_zero
  end
  local first = call("ZRANGE", base .. ":delayed", 0, 0, "WITHSCORES")
  if #taken == batch.limit and (beyond_zero > 0 or first[2]) then
    ring(base) -- this consumer is busy now: another one has to listen for the rest
  end
  local wait = first[2] and math.max(first[2] - now, 0) or -1
  -- All that was read had expired: there may be more, and only a fetch knows what to drop.
  return {#taken == 0 and batch.seen > 0 and 0 or wait, taken}
end

-- consumer, "priority:entry ID" of all that it knows to hold -> what else it holds, as `fetch`
-- returns it: that was given to a connection which broke.
function verbs.recover()
  local consumer, known = ARGV[2], {}
  for i = 3, #ARGV do
    known[ARGV[i]] = true
  end
  local _, priorities = properties(base)
  local found = {}
  for _, priority in ipairs(priorities or {}) do
    local key = stream(base, priority)
    for _, pending in ipairs(call("XPENDING", key, GROUP, "-", "+", LARGEST_CREDIT, consumer)) do
      local id = pending[1]
      local entry = not known[priority .. ":" .. id] and call("XRANGE", key, id, id)[1]
      if entry then
        found[#found + 1] = {priority, id, entry[2]}
      end
    end
  end
  return found
end

-- priority, entry IDs: removes the messages.
function verbs.ack()
  local priority, ids = ARGV[2], {unpack(ARGV, 3)}
  local key = stream(base, priority)
  call("XACK", key, GROUP, unpack(ids))
  call("XDEL", key, unpack(ids))
  if call("EXISTS", base .. ":expiry") == 1 then
    for i, id in ipairs(ids) do
      ids[i] = priority .. ":" .. id
    end
    call("ZREM", base .. ":expiry", unpack(ids))
  end
end

-- Per message: priority, entry ID, delay, attempts spent.
function verbs.release()
  for i = 2, #ARGV, 4 do
    local priority, id, delay, attempts = unpack(ARGV, i, i + 3)
    local fields = withdraw(base, priority, id)
    if fields then
      give_back(base, priority, id, fields, attempts, now + delay)
    end
  end
end

-- priority and entry ID here; priority, body and meta there (KEYS[2]).
function verbs.move()
  local priority, id, new_priority, body, meta = unpack(ARGV, 2, 6)
  local target = KEYS[2]
  if not properties(target) then
    return undeclared(target)
  end
  if withdraw(base, priority, id) then
    put(target, new_priority, {"body", body, "_meta", meta}, 0)
  end
end

-- lease, consumers that are alive: puts back what lost hosts held, and forgets these.
function verbs.keep()
  local lease = ARGV[2]
  local _, priorities = properties(base)
  if not priorities then
    return undeclared(base)
  end
  -- Before the additions, for the reason that `withdraw` has.
  call("ZREMRANGEBYSCORE", base .. ":consumers", "-inf", now)
  for i = 3, #ARGV do
    call("ZADD", base .. ":consumers", now + lease, ARGV[i])
  end
  sweep(base) -- for queues that nobody reads: what expired is not kept for ever
  local lost = 0
  for _, priority in ipairs(priorities) do
    local key = stream(base, priority)
    local idle = call("XPENDING", key, GROUP, "IDLE", lease, "-", "+", BATCH)
    for _, pending in ipairs(idle) do
      local fields = withdraw(base, priority, pending[1])
      if fields then
        local attempts = (tonumber((field(fields, "_attempts"))) or 0) + 1
        give_back(base, priority, pending[1], fields, attempts, 0)
        lost = lost + 1
      end
    end
    for _, consumer in ipairs(call("XINFO", "CONSUMERS", key, GROUP)) do
      local name = field(consumer, "name")
      if field(consumer, "pending") == 0 and not call("ZSCORE", base .. ":consumers", name) then
        call("XGROUP", "DELCONSUMER", key, GROUP, name)
        redis.pcall("XGROUP", "DELCONSUMER", base .. ":bell", GROUP, name)
      end
    end
  end
  return lost
end

-- consumer: it is not attached any more; it is removed where it holds nothing.
function verbs.retire()
  local consumer = ARGV[2]
  local _, priorities = properties(base)
  call("ZREM", base .. ":consumers", consumer)
  for _, priority in ipairs(priorities or {}) do
    local key = stream(base, priority)
    if #call("XPENDING", key, GROUP, "-", "+", 1, consumer) == 0 then
      call("XGROUP", "DELCONSUMER", key, GROUP, consumer)
    end
  end
  redis.pcall("XGROUP", "DELCONSUMER", base .. ":bell", GROUP, consumer)
end
