-- Attempts to bring the process down: deep C stacks, values at the edges of the boundary.

--- gsub in gsub without an end: error
local function f() return (("x"):gsub("x", f)) end
f()

--- pcall in pcall without an end: error, harmless, timeout
local function f() return pcall(f) end
f()

--- xpcall in its own handler: error, harmless, timeout
local function f(e) return xpcall(error, f, e) end
f()

--- sorts in comparators without an end: error
local function f() table.sort({ 1, 2 }, f) end
f()

--- coroutines in coroutines without an end: error, harmless, memory
local function f() return coroutine.resume(coroutine.create(f)) end
f()

--- wraps in wraps without an end: error, memory
local function f() return coroutine.wrap(f)() end
f()

--- tostring in tostring without an end: error
local mt = {}
mt.__tostring = function(t) return tostring(setmetatable({}, mt)) end
tostring(setmetatable({}, mt))

--- format in tostring without an end: error
local mt = {}
mt.__tostring = function(t) return ("%s"):format(t) end
tostring(setmetatable({}, mt))

--- concat in concat without an end: error
local mt = {}
mt.__concat = function(a, b) return a .. b end
return setmetatable({}, mt) .. "x"

--- closes in closes without an end: error
local function f() local c <close> = setmetatable({}, { __close = f }) end
f()

--- loads in readers without an end: error, harmless, timeout, memory
local function f() return load(f) end
f()

--- requires in requires: error, harmless
for _ = 1, 1000 do pcall(require, "json") pcall(require, "nothing") pcall(require) end

--- the stack filled by arguments: error, memory
local t = {}
for i = 1, 900000 do t[i] = i end
print(table.unpack(t))

--- the stack filled by results: error, memory
local s = ("x"):rep(999000)
return select("#", s:byte(1, -1))

--- the stack filled by deep calls with many arguments: error, memory
local function f(...) return 1 + f(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ...) end
f()

--- an overflow inside an error handler: error, harmless, memory
local function f() return 1 + f() end
xpcall(f, f)

--- an overflow inside a close handler after an overflow: error, timeout
local function f() local c <close> = setmetatable({}, { __close = function() local function g() return 1 + g() end g() end }) return 1 + f() end
f()

--- an overflow handled deep in the stack, again and again: timeout, error, memory
local function f(n) if n == 0 then return 0 end return 1 + f(n - 1) end
while true do pcall(f, 1e6) end

--- an error in the handler of an error in the handler: error, harmless
xpcall(error, function() xpcall(error, function() error("x") end) error("y") end)

--- error objects of every kind: error
local kinds = { nil, false, 0, 0 / 0, "", {}, print, coroutine.create(print), setmetatable({}, { __tostring = function() return nil end }) }
for i = 1, 9 do pcall(error, kinds[i]) end
error(kinds[8])

--- an error whose tostring yields: error
error(setmetatable({}, { __tostring = function() coroutine.yield("x") end }))

--- an error whose tostring never ends: timeout
error(setmetatable({}, { __tostring = function() while true do end end }))

--- an error whose tostring fails with itself: error
local mt = {}
local e = setmetatable({}, mt)
mt.__tostring = function() error(e) end
error(e)

--- an error whose tostring gives another kind: error
error(setmetatable({}, { __tostring = function() return {} end, __name = 5 }))

--- an error that is a huge string: error, memory
error(("x"):rep(4 << 20))

--- an error that is not text: error
error(("\xff\0\xed\xa0\x80"):rep(1000))

--- an error with hostile details: error
error(errors.new({ message = "x", details = setmetatable({}, { __index = error, __len = error, __pairs = error }) }))

--- an error with deep details: error
local d = {}
for _ = 1, 10000 do d = { d } end
error(errors.new({ message = "x", details = d }))

--- an error with itself in its details: error
local d = {}
local e = errors.new({ message = "x", details = d })
d.e, d.d = e, d
error(e)

--- an error with details of every key: error
error(errors.new({ message = "x", details = { [1.5] = 1, [true] = 2, [print] = 3, [-1] = 4, ["\xff"] = 5, retry_after = 0 / 0 } }))

--- an error with a huge retry_after: error
error(errors.new({ message = "x", details = { retry_after = 1e308 } }))

--- an error with a retry_after of another kind: error
error(errors.new({ message = "x", details = { retry_after = { "1s" } } }))

--- an error wrapped ten thousand times: error, memory, timeout
local e = errors.new("x")
for _ = 1, 10000 do e = errors.wrap(e, "context") end
error(e)

--- an error with a name that is no string: error
error(setmetatable({}, { __name = {}, __tostring = false }))

--- errors thrown through host functions in coroutines: error
local json = require("json")
for _ = 1, 100 do
  pcall(coroutine.wrap(function() local _, e = json.decode("{") error(e) end))
end
error("end")

--- results of every kind: harmless, error
return setmetatable({}, { __index = error, __pairs = error, __len = error }), print

--- a result that is a deep table: harmless
local t = {}
for _ = 1, 100000 do t = { t } end
return t

--- a result that is a coroutine: harmless
local co = coroutine.create(function() coroutine.yield() end)
coroutine.resume(co)
return co

--- a result of many values: harmless, error
return table.unpack({}, 1, 200000)

--- a false result with a hostile second one: error, timeout
return false, setmetatable({}, { __tostring = function() error({}) end })

--- nil with a huge second result: error, memory
return nil, ("x"):rep(4 << 20)

--- host functions with too many arguments: error, harmless
local q = require("queue")
pcall(q.publish, table.unpack({}, 1, 1000))
pcall(q.info, ("x"):rep(1 << 20))
q.publish("app:tasks", "x", nil, nil, {}, print, coroutine.create(print))

--- host functions with wrong kinds: harmless
local bad = { false, 0 / 0, 1 << 62, "", "\xff", {}, print, setmetatable({}, { __index = error }), errors.new("x"), coroutine.create(print) }
for _, name in ipairs({ "queue", "json", "logger", "time", "store", "env", "fs", "uuid", "hash", "base64", "funcs", "ctx", "security", "registry" }) do
  for key, f in pairs(require(name)) do
    if type(f) == "function" and key ~= "sleep" then
      pcall(f)
      for _, a in ipairs(bad) do
        pcall(f, a)
        pcall(f, a, a)
        pcall(f, "app:tasks", a, a, a)
      end
    end
  end
end

--- host functions called in each other's callbacks: harmless, error
local json, q = require("json"), require("queue")
local t = setmetatable({}, { __index = function(t, k) q.info("app:tasks") return json.encode({ k }) end })
table.concat(setmetatable({}, { __len = function() return 50 end, __index = t }))
("abc"):gsub(".", function(c) return json.encode({ c }) end)
table.sort({ 3, 2, 1, 5 }, function(a, b) json.encode({ a }) return a < b end)

--- a collection while everything is weak: harmless, timeout
local t = setmetatable({}, { __mode = "kv", __index = function(t, k) return k end })
for i = 1, 10000 do t[i] = {} t[{}] = i t[print] = t collectgarbage("step") end

--- a finalizer by every road: harmless
local mt = {}
local t = setmetatable({}, mt)
mt.__gc = function() while true do end end
pcall(setmetatable, {}, { __gc = mt.__gc })
pcall(setmetatable, t, mt)
rawset(mt, "__gc", mt.__gc)
t = nil
for _ = 1, 1e5 do local _ = {} end

--- a metatable that is its own metatable: harmless, error
local mt = {}
setmetatable(mt, mt)
mt.__index, mt.__newindex, mt.__call, mt.__tostring, mt.__name = mt, rawset, print, function() return "x" end, "x"
local _ = mt.x, tostring(mt), mt()
mt.y = 1

--- coroutines closed in every state: harmless, error
local co
co = coroutine.create(function() pcall(coroutine.close, co) coroutine.yield() error("x") end)
pcall(coroutine.close, co)
co = coroutine.create(function() pcall(coroutine.close, co) coroutine.yield() error("x") end)
coroutine.resume(co) coroutine.close(co) coroutine.close(co) coroutine.resume(co)
co = coroutine.wrap(function() error("x") end)
pcall(co) pcall(co)

--- ten thousand suspended coroutines: harmless, memory
local all = {}
for i = 1, 10000 do
  all[i] = coroutine.create(function() local c <close> = setmetatable({}, { __close = error }) coroutine.yield() end)
  coroutine.resume(all[i])
end

--- locals and upvalues to the limits of the compiler: harmless
local parts = {}
for i = 1, 300 do parts[i] = "local a" .. i .. "=" .. i end
load(table.concat(parts, "\n"))
load("return " .. ("1+"):rep(60000) .. "1")
load("local t = {" .. ("1,"):rep(60000) .. "} return t")
load(("a"):rep(200000) .. "=1")
load("return '" .. ("\\xff"):rep(50000) .. "'")
load("--[" .. ("="):rep(100000) .. "[")
load(("\n"):rep(262144))

--- a string that ends in the middle of an escape: harmless, error
for _, s in ipairs({ "'\\", "'\\x", "'\\u{", "'\\u{7fffffff}'", "'\\u{80000000}'", "'\\999'", "[[", "0x", "1e", "0x1p", "1..2", "\0", "\xef\xbb\xbf", "#!x\n", "'\\z" }) do
  load("return " .. s)
end
