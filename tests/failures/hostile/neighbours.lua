-- Attempts to change what other functions, other calls or the host see, or to take their time.

--- every global replaced: error, harmless
for name in pairs(_G) do _G[name] = function() error("hijacked") end end

--- the environment replaced: error, harmless
_ENV = setmetatable({}, { __index = function() error("hijacked") end, __newindex = function() error("hijacked") end })
x = 1

--- a metatable on the globals: harmless
setmetatable(_G, { __index = function(_, k) return k end, __newindex = function() end })

--- a metatable that loops on the globals: timeout
setmetatable(_G, { __index = function() while true do end end })
return nothing_of_that_name

--- the cache of require: harmless
local json = require("json")
local ok = pcall(function() json.encode = function() return "evil" end end)
if ok or require("json").encode({ 1 }) ~= "[1]" then print("ESCAPED") end

--- json.null written: harmless
local json = require("json")
if pcall(rawset, json.null, "x", 1) or pcall(function() json.null.x = 1 end) or pcall(setmetatable, json.null, {}) then print("ESCAPED") end

--- library functions written through their errors: harmless
for _, v in ipairs({ string, table, math, os, utf8, coroutine, errors, require("queue"), require("time") }) do
  if pcall(setmetatable, v, {}) or getmetatable(v) then print("ESCAPED") end
end

--- the body of the message changed: harmless
if type(body) == "table" then body.x = body setmetatable(body, { __index = error }) end

--- the random generator seeded: harmless
math.randomseed(42)
evil = math.random()

--- state kept for the next call: harmless
counter = (counter or 0) + 1
kept = kept or {}
kept[#kept + 1] = coroutine.wrap(function() coroutine.yield() while true do end end)
kept[#kept]()

--- queue flooded: timeout, error, harmless, memory
local q = require("queue")
while true do q.publish("app:tasks", { x = ("x"):rep(1000) }, nil, { timeout = 0.01 }) end

--- queue flooded by lists: timeout, error, memory
local q = require("queue")
local list = {}
for i = 1, 5000 do list[i] = { i } end
while true do q.publish_many("app:tasks", list, nil, { timeout = 0.01 }) end

--- publish to nowhere for ever: timeout
local q = require("queue")
while true do q.publish("app:nowhere", "x") q.publish("", "x") q.publish("\0", "x") q.info("app:" .. math.random()) end

--- hostile headers: harmless
local q = require("queue")
for _, h in ipairs({ { x_evil = 1 }, { [1] = 1 }, { a = {} }, { a = print }, { a = 0 / 0 }, { a = 1 / 0 }, { ["\xff"] = "x" }, { ["\0"] = "\0" }, { a = "\xff" }, { [("k"):rep(100000)] = 1 }, { priority = -1 }, { priority = 1e308 }, { content_type = "\n\r" }, { content_type = 5 }, { traceparent = ("x"):rep(1 << 16) }, { [""] = "" }, setmetatable({}, { __pairs = error }) }) do
  local ok, err = q.publish("app:tasks", "x", h, { timeout = 0 })
  if not ok and not err then print("ESCAPED") end
end

--- hostile options: harmless, timeout
local q = require("queue")
for _, o in ipairs({ { delay = -1 }, { delay = 1e308 }, { delay = "1 week" }, { delay = {} }, { ttl = 0 }, { ttl = 0 / 0 }, { id = {} }, { id = "" }, { id = ("x"):rep(1 << 20) }, { id = "\xff\0" }, { timeout = 1e9 }, { timeout = "-1s" }, { unknown = 1 }, { [1] = 2 }, setmetatable({}, { __index = error }) }) do
  q.publish("app:nowhere", "x", nil, o)
  if not (o.timeout) then q.publish("app:tasks", "x", nil, o) end
end

--- hostile bodies: harmless, timeout
local q = require("queue")
for _, b in ipairs({ "", ("x"):rep(1 << 20), "\xff\xfe", 0 / 0, 1 / 0, 1 << 63, true, {}, { [1] = 1, [5] = 5 }, { print }, { a = { b = { c = print } } }, setmetatable({ 1 }, { __index = error, __pairs = error, __len = error }), errors.new("x"), q, print }) do
  q.publish("app:tasks", b, nil, { timeout = 0 })
end

--- declare with hostile names and fields: error, harmless
local q = require("queue")
for _, id in ipairs({ "", "x", "a:b:c", "\0:\0", "app:" .. ("x"):rep(100000), "app:tasks", "../x:y", "app:\n" }) do
  pcall(q.declare, id, { driver = "app:nothing" })
  pcall(q.declare, id, { max_message_size = -1, options = print })
  pcall(q.declare, id, setmetatable({}, { __index = error, __pairs = error }))
  pcall(q.consume, id, "nothing.here")
  pcall(q.consume, id, print)
  pcall(q.consume, "app:tasks", function() end, { concurrency = 1e9 })
end

--- messages settled twice and kept: harmless, error
local q = require("queue")
local m = assert(q.message())
m:ack() m:ack() m:nack() m:reject() m:snooze("1s") m:extend("1s")
m:nack({ delay = 0 / 0 }) m:snooze(-1) m:snooze({}) m:reject(("x"):rep(1 << 20)) m:extend(1e308)
kept_message = kept_message or m
pcall(m.ack) pcall(m.ack, {}) pcall(m.header, m, {}) m.header(m, "\0")

--- the log flooded: timeout
local l = require("logger")
while true do l.info("x", { a = ("x"):rep(1000) }) l.error(("\n"):rep(100)) l:warn("\27[2J\xff") print("flood") end

--- the log with hostile fields: harmless, timeout
local l = require("logger")
local ring = {}
ring.ring = ring
for _, f in ipairs({ { ring = ring }, { [print] = print }, { event = 1, level = 2, exc_info = true, stack_info = true, message = 3, _record = 4 }, { a = ("x"):rep(1 << 20) }, setmetatable({}, { __pairs = error }), "x", 5, print }) do
  pcall(l.info, "x", f) pcall(l.with, f) pcall(l.named, f)
end
local deep = l
for i = 1, 200 do deep = deep:named("n" .. i):with({ ["k" .. i] = i }) end
deep:info("deep")

--- a store flooded: harmless, timeout, error, memory
local s = assert(require("store").get("app:store"))
for i = 1, 100000 do
  local ok, err = s:set("k" .. i, ("x"):rep(100))
  if not ok then break end
end

--- a store with hostile keys and values: harmless
local s = assert(require("store").get("app:store"))
for _, k in ipairs({ "", "\0", "\xff", ("x"):rep(2000), {}, 5, true, print }) do
  pcall(s.get, s, k) pcall(s.set, s, k, 1) pcall(s.has, s, k) pcall(s.delete, s, k)
end
for _, v in ipairs({ print, { print }, 0 / 0, coroutine.create(print), setmetatable({}, { __pairs = error }), errors.new("x") }) do s:set("v", v) end
for _, ttl in ipairs({ -1, 0, 0 / 0, 1 / 0, "x", "1e9h", {}, true, "1ns" }) do s:set("v", 1, ttl) end

--- a value changed after it was stored: harmless
local s = assert(require("store").get("app:store"))
local t = { 1 }
s:set("t", t)
t[1] = 2
if s:get("t") and s:get("t")[1] ~= 1 then print("ESCAPED") end
s:delete("t")

--- functions that call themselves: error, harmless, timeout
local funcs = require("funcs")
local function go() return funcs.call("app:again", "app:again") end
local _, err = go()
assert(err)

--- functions started and left: harmless, timeout, error
local funcs = require("funcs")
for _ = 1, 1100 do funcs.async("app:spin") end

--- functions called with what cannot be copied: harmless
local funcs = require("funcs")
for _, a in ipairs({ print, { print }, coroutine.create(print), { [1.5] = 1 } }) do
  local value, err = funcs.call("app:echo", a)
  if not err then print("ESCAPED") end
end
local ring = {} ring.r = ring
funcs.call("app:echo", ring)
pcall(funcs.call) pcall(funcs.call, {}) funcs.call("") funcs.call("app:nothing") funcs.call("\0")

--- futures used after their end and forged: harmless, error
local funcs = require("funcs")
local f = assert(funcs.async("app:echo", 1))
kept_future = kept_future or f
f:response() f:response() f:cancel() f:result()
kept_future:response() kept_future:cancel()
for _, v in ipairs({ {}, "x", setmetatable({}, { __index = f }) }) do if pcall(f.response, v) then print("ESCAPED") end end

--- contexts of every kind: harmless
local funcs = require("funcs")
local caller = funcs.new()
for _, c in ipairs({ { print }, { a = print }, { [1] = 1 }, "x", 5, { a = { a = { a = 1 } } }, setmetatable({}, { __pairs = error }) }) do pcall(caller.with_context, caller, c) end
for i = 1, 200 do caller = caller:with_context({ ["k" .. i] = i }) or caller end
caller:call("app:echo", 1)

--- the own function called beside itself: error, harmless, timeout
local funcs = require("funcs")
local all = {}
for i = 1, 20 do all[i] = funcs.async("app:echo", { i }) end
for i = 1, 20 do all[i]:response() end

--- sleeps in odd places: harmless, error, timeout
local time = require("time")
local t = setmetatable({}, { __index = function() time.sleep("1ms") return 1 end, __close = function() time.sleep("1ms") end, __lt = function() time.sleep("1ms") return true end, __tostring = function() time.sleep("1ms") return "x" end })
local _ = t.x, t < t, tostring(t), ("x"):gsub("x", function() time.sleep("1ms") end)
table.sort({ 2, 1 }, function(a, b) time.sleep("1ms") return a < b end)
coroutine.wrap(function() local c <close> = t time.sleep("1ms") end)()
load(function() time.sleep("1ms") end)
pcall(function() time.sleep("1ms") error(t) end)
xpcall(error, function() time.sleep("1ms") end)

--- sleeps without an end: timeout
require("time").sleep("8760h")

--- sleeps of hostile lengths: harmless, timeout, error
local time = require("time")
for _, d in ipairs({ -1, 0 / 0, 1 / 0, -1 / 0, 1 << 62, "", "x", "-1s", "1e9s", {}, print, true, math.mininteger, "0s", 0 }) do pcall(time.sleep, d) end

--- a sleep in a close handler after the end: timeout
local time = require("time")
local c <close> = setmetatable({}, { __close = function() pcall(time.sleep, "1h") pcall(time.sleep, "1h") end })
time.sleep("1h")

--- a sleep caught by pcall again and again: timeout
local time = require("time")
while true do pcall(time.sleep, "1h") pcall(coroutine.wrap(function() time.sleep("1h") end)) end

--- short sleeps for ever: timeout
local time = require("time")
while true do time.sleep(0) time.sleep(1) end

--- times and zones of every kind: harmless, error
local time = require("time")
for _, s in ipairs({ "", "x", ("x"):rep(100000), "2006-01-02", "\0", "99999999999", "Europe/../../etc/passwd", "/etc/localtime", "../UTC" }) do
  pcall(time.parse, s, s) pcall(time.parse, time.RFC3339, s) pcall(time.parse_duration, s) pcall(time.load_location, s)
end
pcall(time.unix, math.maxinteger, math.maxinteger) pcall(time.date, 1 << 40, 1 << 40, 1 << 40, 1, 1, 1, 1) pcall(time.fixed_zone, "x", 1 << 40)

--- schemas that take long: harmless, error, timeout
local json = require("json")
pcall(json.validate, { type = "string", pattern = "(a+)+$" }, ("a"):rep(5000) .. "b")
pcall(json.validate, { ["$ref"] = "#" }, {})
pcall(json.validate, { ["$ref"] = "http://127.0.0.1:1/x" }, {})
pcall(json.validate, { ["$ref"] = "file:///etc/passwd" }, {})
local s = { type = "object" }
for _ = 1, 100 do s = { allOf = { s, s and { type = "object" } } } end
pcall(json.validate, s, {})
pcall(json.validate_string, "{", "{")
