-- Attempts to keep the hub, or the call, for ever.

--- goto: timeout
::a:: do goto b end
::b:: goto a

--- goto through a close variable: timeout
::a::
do
  local c <close> = setmetatable({}, { __close = function() end })
  goto a
end

--- repeat with a closure: timeout
repeat local f = function() return false end until f()

--- numeric loop to the end of integers: timeout
for i = math.mininteger, math.maxinteger do end

--- numeric loop of floats that stands still: timeout
for i = 1e16, 2e16, 0.5 do end

--- mutual tail calls: timeout
local f, g
function f() return g() end
function g() return f() end
f()

--- recursion in metamethods of index, as functions: error
local t = setmetatable({}, {})
getmetatable(t).__index = function(t, k) return t[k .. "x"] end
return t.x

--- a chain of index metatables as a ring: error
local a, b = {}, {}
setmetatable(a, { __index = b })
setmetatable(b, { __index = a })
return a.x

--- a chain of newindex metatables as a ring: error
local a, b = {}, {}
setmetatable(a, { __newindex = b })
setmetatable(b, { __newindex = a })
a.x = 1

--- a chain of call metatables: error
local t = setmetatable({}, { __call = print })
for _ = 1, 10000 do t = setmetatable({}, { __call = t }) end
t()

--- a call metatable that is itself: error
local t = {}
setmetatable(t, { __call = t })
t()

--- eq that loops: timeout
local mt = { __eq = function() while true do end end }
return setmetatable({}, mt) == setmetatable({}, mt)

--- lt that loops in a sort: timeout
local mt = { __lt = function() while true do end end }
table.sort({ setmetatable({}, mt), setmetatable({}, mt) })

--- le that loops: timeout
local mt = { __le = function() while true do end end }
return setmetatable({}, mt) <= setmetatable({}, mt)

--- concat that loops: timeout
return "x" .. setmetatable({}, { __concat = function() while true do end end })

--- len that loops in table functions: timeout
local t = setmetatable({}, { __len = function() while true do end end })
for _, f in ipairs({ table.concat, table.unpack, table.sort, table.insert, table.remove }) do f(t, 1) end

--- len that grows: timeout, memory
local n = 0
local t = setmetatable({}, { __len = function() n = n + 1 return n end, __index = function() return "x" end })
while true do table.concat(t) end

--- unary minus that loops: timeout
return -setmetatable({}, { __unm = function() while true do end end })

--- bitwise metamethods that loop: timeout
return setmetatable({}, { __bor = function() while true do end end }) | 1

--- a close handler that loops after break: timeout
for _ = 1, 1 do
  local c <close> = setmetatable({}, { __close = function() while true do end end })
  break
end

--- a close handler that loops after goto: timeout
do
  local c <close> = setmetatable({}, { __close = function() while true do end end })
  goto out
end
::out::

--- a close handler that loops after a return: timeout
local c <close> = setmetatable({}, { __close = function() while true do end end })
return 1

--- close handlers that make close handlers: timeout, error, memory
local mt = {}
function mt.__close() local c <close> = setmetatable({}, mt) end
local c <close> = setmetatable({}, mt)

--- an error in each of many close handlers: error, timeout, memory
local mt = { __close = function(_, e) error(tostring(e) .. "x") end }
local function f(n)
  local c <close> = setmetatable({}, mt)
  if n > 0 then return (f(n - 1)) end
  error("x")
end
f(150)

--- closing a coroutine with a handler that loops: timeout
local co = coroutine.create(function()
  local c <close> = setmetatable({}, { __close = function() while true do end end })
  coroutine.yield()
end)
coroutine.resume(co)
coroutine.close(co)

--- closing coroutines that close coroutines: timeout, error, harmless
local function make(inner)
  local co = coroutine.create(function()
    local c <close> = setmetatable({}, { __close = function() if inner then coroutine.close(inner) end end })
    coroutine.yield()
  end)
  coroutine.resume(co)
  return co
end
local co
for _ = 1, 1000 do co = make(co) end
coroutine.close(co)

--- a yield in a close handler: timeout, error, harmless
local co = coroutine.wrap(function()
  while true do
    local c <close> = setmetatable({}, { __close = function() coroutine.yield(1) end })
  end
end)
while co() do end

--- a yield in each metamethod: timeout
local mt = {}
for _, name in ipairs({ "__index", "__newindex", "__call", "__concat", "__len", "__eq", "__lt", "__le", "__add", "__unm" }) do
  mt[name] = function() coroutine.yield() return true end
end
local t = setmetatable({}, mt)
local co = coroutine.wrap(function()
  while true do
    local _ = t.x, t(), t .. t, #t, t == setmetatable({}, mt), t < t, t <= t, t + t, -t
    t.x = 1
  end
end)
while true do co() end

--- a yield across pcall for ever: timeout
local co = coroutine.wrap(function() while true do pcall(function() coroutine.yield() error("x") end) end end)
while true do co() end

--- a yield in a sort comparator: error
coroutine.wrap(function() table.sort({ 3, 2, 1 }, function(a, b) coroutine.yield() return a < b end) end)()

--- a yield in gsub: error
coroutine.wrap(function() ("x"):gsub("x", coroutine.yield) end)()

--- a coroutine that resumes itself: error, harmless
local co
co = coroutine.create(function() return coroutine.resume(co) end)
assert(select(2, coroutine.resume(co)) == false)

--- coroutines that wrap each other: error, memory
local function f(g) return coroutine.wrap(function() g() end) end
local g = print
for _ = 1, 500 do g = f(g) end
g()

--- generators in a ring: timeout, error
local a, b
a = coroutine.wrap(function() while true do coroutine.yield(b and 1) end end)
b = coroutine.wrap(function() while true do a() coroutine.yield() end end)
while true do b() end

--- rep of rep of rep: timeout, memory, error
while true do
  local s = "x"
  for _ = 1, 40 do s = s:rep(10) end
end

--- rep with a long separator: timeout, memory, error
while true do ("x"):rep(1000, ("y"):rep(100000)) end

--- gsub that replaces all by the whole, with functions: timeout, memory
local s = ("x"):rep(1000)
while true do s = s:gsub("x", function(c) return c .. c end) end

--- gsub with a table whose index loops: timeout
("x"):gsub("x", setmetatable({}, { __index = function() while true do end end }))

--- gsub anchored at nothing on a large subject: timeout
local s = ("x"):rep(1 << 20)
while true do s:gsub("", "") end

--- patterns of sets of sets: timeout
local s = ("ab"):rep(20000)
while true do s:find("[a-b][^a-b]*[%w%s]-[%p]+$") end

--- balanced patterns over unbalanced text: timeout
local s = ("("):rep(50000)
while true do s:match("%b()") end

--- gmatch in gmatch in gmatch: timeout
local s = ("a "):rep(500)
for _ in s:gmatch("%a") do for _ in s:gmatch("%a") do for _ in s:gmatch("%a+") do end end end
while true do end

--- sort with a comparator that lies: timeout, error
local t = {}
for i = 1, 5000 do t[i] = i end
while true do pcall(table.sort, t, function() return true end) end

--- sort with a random comparator: timeout, error
local t = {}
for i = 1, 2000 do t[i] = math.random() end
while true do pcall(table.sort, t, function() return math.random() < 0.5 end) end

--- sort with a C function as comparator: timeout
local t = {}
for i = 1, 8000 do t[i] = ("x"):rep(50) .. i end
while true do pcall(table.sort, t, rawequal) end

--- move onto itself by one, again and again: timeout
local t = table.pack(table.unpack({}, 1, 100000))
while true do table.move(t, 1, 100000, 2) end

--- concat of many long numbers: timeout
local t = {}
for i = 1, 50000 do t[i] = 1e300 / i end
while true do table.concat(t, ",") end

--- unpack into unpack: timeout
local t = {}
for i = 1, 200000 do t[i] = i end
while true do select("#", table.unpack({ table.unpack(t) })) end

--- varargs handed on for ever: timeout
local function f(...) return f(...) end
f(table.unpack({}, 1, 200000))

--- varargs packed for ever: timeout, memory
local function f(...) while true do local t = { ... } end end
f(("x"):rep(400000):byte(1, -1))

--- characters of varargs: timeout, memory, error
local function f(...) while true do utf8.char(...) end end
f(("x"):rep(300000):byte(1, -1))

--- long numerals read as numbers: timeout
local s = ("1"):rep(4 << 20)
while true do local _ = tonumber(s), s + 1, -s end

--- long numerals in base 36: timeout
local s = ("z"):rep(4 << 20)
while true do tonumber(s, 36) end

--- long numerals given to math: timeout
local s = "0." .. ("0"):rep(4 << 20) .. "1"
while true do math.floor(s) end

--- comparisons of long strings: timeout
local a, b = ("x"):rep(3 << 20), ("x"):rep(3 << 20)
while true do local _ = a < b, a == b, a <= b end

--- long keys: timeout, memory
local t, s = {}, ("x"):rep(1 << 20)
while true do t[s .. math.random(3)] = 1 end

--- utf8 over continuation bytes: timeout, error
local s = "a" .. ("\x80"):rep(1 << 20)
local f = utf8.codes("a")
while true do pcall(f, s, 1) pcall(utf8.len, s) pcall(utf8.offset, s, -1) pcall(utf8.codepoint, s, 1, -1, true) end

--- formats with all widths: timeout
while true do
  for _, f in ipairs({ "%99.99f", "%-99d", "%+.99e", "%#.99g", "%099x", "%99s", "%q", "%a", "%99.99i" }) do
    pcall(string.format, f, 1e308)
  end
end

--- format of hostile objects: timeout
local t = setmetatable({}, { __tostring = function() return ("x"):rep(1 << 20) end })
while true do ("%s%s"):format(t, t) end

--- pack and unpack of long strings: timeout
local s = ("x"):rep(1 << 20)
while true do (("s4"):pack(s)):unpack("s4") end

--- packs with a long format: timeout, error
local f = ("i1"):rep(50000)
while true do pcall(string.packsize, f) pcall(string.pack, f, table.unpack({}, 1, 200)) end

--- dates with hostile tables: timeout
while true do
  pcall(os.time, { year = 1 << 30, month = 1 << 30, day = 1 << 30, hour = -1 << 30 })
  pcall(os.time, setmetatable({}, { __index = function() return 1 << 31 end }))
  pcall(os.date, "*t", 1 << 55)
end

--- loads of loads: timeout
local s = "return 1"
while true do
  s = ("return load(%q)()"):format(s)
  if #s > 1000 then s = "return 1" end
  load(s)()
end

--- load with an environment that loops: timeout
load("x = y", "x", "t", setmetatable({}, { __index = function() while true do end end }))()

--- load with long names: timeout
local name = ("x"):rep(2 << 20)
while true do load("error('x')", name) end

--- loads of deep nesting: timeout
local parts = { ("do "):rep(150) .. ("end "):rep(150), ("("):rep(150) .. "1" .. (")"):rep(150), "return " .. ("{"):rep(150) .. ("}"):rep(150) }
while true do for _, p in ipairs(parts) do load(p) end end

--- next on a table that was emptied: timeout
local t = {}
for i = 1, 100000 do t[i] = i end
for i = 1, 100000 do t[i] = nil end
while true do next(t) end

--- pairs while the table changes: timeout, error
local t = { a = 1 }
while true do
  pcall(function() for k in pairs(t) do t[math.random(1000)] = 1 t[k] = nil end end)
end

--- weak tables that fill and empty: timeout
local t = setmetatable({}, { __mode = "kv" })
while true do t[{}] = {} end

--- a short ephemeron chain: timeout, harmless
local t, keys = setmetatable({}, { __mode = "k" }), {}
for i = 1, 3000 do keys[i] = {} end
for i = 1, 2999 do t[keys[i]] = keys[i + 1] end
keys = keys[1]
for _ = 1, 1e6 do local _ = {} end

--- a weak mode that is set late: timeout, harmless
local mt = {}
local t = setmetatable({}, mt)
local last = {}
for _ = 1, 3000 do local k = {} t[k] = last last = k end
mt.__mode = "k"
for _ = 1, 1e6 do local _ = {} end

--- tostring and tonumber for ever: timeout
local n = 1
while true do n = tonumber(tostring(n)) + 1 end

--- select with growing numbers: timeout
local i = 1
while true do select(i, 1, 2, 3) i = i + 1 end

--- errors with levels beyond the stack: timeout
while true do pcall(error, "x", 1 << 40) pcall(error, "x", -1) end

--- asserts that fail for ever: timeout
while true do pcall(assert, false, setmetatable({}, {})) pcall(assert) end

--- random seeds: timeout
while true do math.randomseed(1 << 62, -1) math.random(math.mininteger, math.maxinteger) pcall(math.random, 2, 1) end
