-- Attempts to use more memory than the VM or the host has.

--- strings doubled: memory
local s = "x"
while true do s = s .. s end

--- strings of strings kept: memory
local t = {}
while true do t[#t + 1] = ("x"):rep(1000) .. #t end

--- tables nested: memory
local t = {}
while true do t = { t } end

--- closures kept: memory
local t = {}
while true do local x = {} t[#t + 1] = function() return x, t end end

--- coroutines kept: memory
local t = {}
while true do local co = coroutine.create(function() coroutine.yield() end) coroutine.resume(co) t[#t + 1] = co end

--- upvalues in coroutines that never end: memory
local all = {}
while true do
  local x = ("x"):rep(100) .. #all
  all[#all + 1] = coroutine.wrap(function() coroutine.yield(x) return x end)
  all[#all]()
end

--- metatables kept: memory
local t = {}
while true do t = setmetatable({}, { __index = t, __name = "x" .. tostring(t) }) end

--- keys that are never found again: memory
local t = {}
while true do t[{}] = true end

--- keys of floats: memory
local t, n = {}, 0
while true do n = n + 1 t[n + 0.5] = n end

--- a table far beyond its length: harmless, memory
local t = {}
for i = 0, 62 do t[1 << i] = i end
t[math.maxinteger], t[math.mininteger] = 1, 1

--- errors kept: memory
local t = {}
while true do t[#t + 1] = errors.new("x") end

--- errors chained by their details: memory
local e
while true do e = errors.new({ message = "x", details = { cause = e } }) end

--- errors chained in any order: harmless, memory
local es, ds = {}, {}
for i = 1, 8000 do ds[i] = {} es[i] = errors.new({ message = "x", details = ds[i] }) end
for i = 1, 7999 do ds[i * 7919 % 8000 + 1].cause = es[(i + 1) * 7919 % 8000 + 1] end
es, ds = es[1], nil
for _ = 1, 1e6 do local _ = {} end

--- functions compiled and kept: memory, timeout
local t = {}
while true do t[#t + 1] = load("local a, b, c = " .. #t .. ", {}, function() end return a") end

--- a gsub that grows its subject: memory, timeout
local s = "x"
while true do s = s:gsub(".", "%0%0%0%0") end

--- a concat of one string many times: memory
local s, t = ("x"):rep(1 << 16), {}
for i = 1, 4096 do t[i] = s end
local _ = table.concat(t, s)

--- a rep beyond the limit of the VM: memory
local _ = ("x"):rep(200 << 20)

--- a rep beyond all limits: error
local _ = ("x"):rep(1 << 40)

--- formats that grow: memory, error
local s = "%s"
while true do s = s:format(s .. s):gsub("%%s", "%%s%%s") end

--- JSON of a huge table: memory, timeout
local json, t = require("json"), {}
for i = 1, 100000 do t[i] = { ("x"):rep(20) .. i } end
while true do t[#t + 1] = json.encode(t) end

--- JSON that repeats one table: memory, error, timeout
local json = require("json")
local t = { ("x"):rep(1000) }
for _ = 1, 40 do t = { t, t } end
json.encode(t)

--- JSON of a ring: error, harmless
local json = require("json")
local t = {}
t.t = { t }
assert(json.encode(t))

--- JSON of what is deep: error, harmless
local json = require("json")
assert(json.decode(("["):rep(100000)))

--- JSON with long numbers: error, harmless
local json = require("json")
local v = json.decode("[" .. ("9"):rep(100000) .. "," .. "1e" .. ("9"):rep(1000) .. ",-0." .. ("0"):rep(100000) .. "1]")
json.decode('"' .. ("\\u0000"):rep(50000) .. '"')

--- JSON of hostile tables: harmless
local json = require("json")
for _, t in ipairs({ { [1] = 1, [3] = 3 }, { 1, a = 2 }, { [1.5] = 1 }, { [print] = 1 }, { print }, { 0 / 0, 1 / 0, -1 / 0 }, { [math.mininteger] = 1 }, setmetatable({}, { __pairs = error, __index = error, __len = error }), { json.null, json }, { errors.new("x") }, { "\xff" } }) do
  json.encode(t)
end

--- JSON under pcall with little memory left: memory, timeout
local json, t = require("json"), {}
pcall(function() while collectgarbage("count") < 14000 do t[#t + 1] = ("x"):rep(5000) .. #t end end)
while true do pcall(json.encode, t) pcall(json.decode, "[" .. ("1,"):rep(100000) .. "1]") end

--- a memory error kept by every means: memory
local function fill() local t = {} while true do t[#t + 1] = {} end end
pcall(fill)
xpcall(fill, fill)
coroutine.resume(coroutine.create(fill))
pcall(coroutine.wrap(fill))
pcall(table.sort, { 1, 2, 3 }, fill)
print("ESCAPED")

--- a memory error turned into another by a close handler: memory, timeout, error
while true do
  pcall(function()
    local c <close> = setmetatable({}, { __close = function() error("mine") end })
    local t = {}
    while true do t[#t + 1] = {} end
  end)
end

--- a memory error in a metamethod of the host's reading: memory, error
local q = require("queue")
q.publish("app:tasks", setmetatable({}, { __index = function() local t = {} while true do t[#t + 1] = {} end end, __len = function() return 5 end }))
local t = {}
while true do t[#t + 1] = {} end

--- memory filled to the brim, then a host call: memory, error, harmless, timeout
local q, t = require("queue"), {}
local fill = function() while collectgarbage("count") < 15500 do t[#t + 1] = ("x"):rep(500) .. #t end end
fill()
for _ = 1, 50 do q.info("app:tasks") q.publish("app:tasks", t) pcall(errors.new, "x") end

--- memory filled by strings that the host gives: memory, timeout
local uuid, t = require("uuid"), {}
while true do t[#t + 1] = uuid.v4() end

--- memory filled by base64: memory
local base64 = require("base64")
local s = "x"
while true do s = assert(base64.encode(s)) .. s end

--- hashes of long strings: memory, timeout
local hash, s = require("hash"), ("x"):rep(1 << 20)
local t = {}
while true do t[#t + 1] = hash.sha256(s, true) .. s end
