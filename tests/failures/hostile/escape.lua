-- Attempts to reach what a script must not have. Each prints ESCAPED when it got there.

--- bytecode from a file of another Lua: error, harmless
local f = load("\27Lua\x53\0\x19\x93\r\n\x1a\n" .. ("\4"):rep(100), "x", "b")
if f then print("ESCAPED") f() end

--- bytecode in pieces
local pieces, i = { "\27", "Lua", "\x54", "\0" }, 0
local f = load(function() i = i + 1 return pieces[i] end, "x", "bt")
if f then print("ESCAPED") f() end

--- bytecode made by the string library
if string.dump or ("").dump then print("ESCAPED") end

--- the real globals through the environment of a library
for _, library in pairs({ string = string, table = table, math = math, os = os, errors = errors }) do
  for name, f in pairs(library) do
    if type(f) == "table" and (f.debug or f.io or f.package) then print("ESCAPED", name) end
  end
end

--- the real globals through load without an environment
local g = load("return _ENV")()
if g.debug or g.io or g.package or g.dofile or g.loadfile then print("ESCAPED") end

--- the real globals through required modules
for _, name in ipairs({ "json", "queue", "logger", "time", "store", "env", "fs", "uuid", "hash", "funcs", "security" }) do
  local ok, m = pcall(require, name)
  if ok then
    for key, value in pairs(m) do
      if key == "host" or key == "vm" or key == "native" or key == "debug" then print("ESCAPED", name, key) end
      if type(value) == "userdata" then print("ESCAPED", name, key) end
    end
  end
end

--- any userdata among all that can be reached
local seen, left = {}, { _G, require("queue"), require("json"), require("time"), require("store"), require("funcs") }
while #left > 0 do
  local t = table.remove(left)
  if type(t) == "userdata" then print("ESCAPED") end
  if type(t) == "table" and not seen[t] then
    seen[t] = true
    for k, v in pairs(t) do left[#left + 1] = k left[#left + 1] = v end
    left[#left + 1] = getmetatable(t)
  end
end

--- require of what the standard library of Lua has
for _, name in ipairs({ "debug", "io", "package", "os", "ffi", "jit", "python", "lupa", "_G", "string" }) do
  local ok, m = pcall(require, name)
  if ok and m ~= string then print("ESCAPED", name) end
end

--- require with paths: error, harmless
for _, name in ipairs({ "../secret", "/etc/passwd", "..", ".", "a.b.c", "\0", ("x"):rep(100000), "vm/boot", "errors/../queue" }) do
  if pcall(require, name) then print("ESCAPED", name) end
end

--- the metatable of strings
local mt = getmetatable("")
if type(mt) == "table" then print("ESCAPED") mt.__index = nil end

--- methods of strings replaced
local ok = pcall(function() ("").format = nil end)
local ok2 = pcall(rawset, string, "format", nil)
if ok or ok2 or ("%d"):format(1) ~= "1" then print("ESCAPED") end

--- the table behind a read-only library, by its iterator
local f, s, k = pairs(string)
if s ~= nil then print("ESCAPED") end
for _ = 1, 100 do k = f(s, k) if type(k) == "table" then print("ESCAPED") end end

--- the table behind a read-only library, by next
if next(string) ~= nil or next(table) ~= nil or next(require("json")) ~= nil then print("ESCAPED") end

--- the table behind a read-only library, by a metamethod of its user
local caught
local spy = setmetatable({}, { __index = function(t, k) caught = t end, __eq = function(a, b) caught = b end })
local _ = spy == string, string == spy, spy[string]
if caught ~= nil and caught ~= spy and caught ~= string then print("ESCAPED") end

--- library tables written by table functions
pcall(table.insert, string, 1, "x")
pcall(table.move, { 1, 2 }, 1, 2, 1, string)
pcall(table.sort, string)
pcall(table.remove, string)
if rawlen(string) ~= 0 or string[1] ~= nil then print("ESCAPED") end

--- errors forged by a metatable
local forged = setmetatable({}, { __index = getmetatable(errors.new("x")) or {}, __name = "error" })
if errors.is(forged, errors.UNKNOWN) or errors.call_stack(forged) then print("ESCAPED") end

--- the facts of an error
local e = errors.new({ message = "m", details = { a = 1 } })
if getmetatable(e) or next(e) ~= nil or rawget(e, "message") or pcall(setmetatable, e, {}) then print("ESCAPED") end

--- methods of an error on something else
for _, v in ipairs({ {}, "x", 1, true, print, string, coroutine.create(print), setmetatable({}, { __index = print }) }) do
  local e = errors.new("x")
  for _, name in ipairs({ "kind", "message", "details", "stack", "retryable" }) do
    if pcall(e[name], v) then print("ESCAPED", name) end
  end
end

--- a metatable that was protected
local t = setmetatable({}, { __metatable = "locked" })
if pcall(setmetatable, t, {}) then print("ESCAPED") end

--- host functions by their upvalues
local q = require("queue")
for _, f in pairs(q) do
  if type(f) == "function" and (getmetatable(f) or pcall(function() return f.x end)) then print("ESCAPED") end
end

--- the message of another call
local q = require("queue")
kept = kept or q.message()
if kept then
  local id, err = kept:id()
  if not id and not errors.is(err, errors.INVALID) then print("ESCAPED") end
end

--- tracebacks that show the host
local _, e = pcall(error, errors.new("x"))
if e:stack():find("/", 1, true) and e:stack():find("%.py") then print("ESCAPED") end

--- environment variables and files: error, harmless
local env, fs = require("env"), require("fs")
if env.get("PATH") or env.get("HOME") then print("ESCAPED") end
if fs.get("app:none") or fs.get("/") or fs.get("../..") then print("ESCAPED") end

--- names of the host as globals
for _, name in ipairs({ "python", "arg", "host", "vm", "native", "package", "io", "debug", "newproxy", "setfenv", "getfenv", "module", "unpack", "loadstring", "dofile", "loadfile", "warn" }) do
  if _G[name] ~= nil or _ENV[name] ~= nil then print("ESCAPED", name) end
end

--- the main thread: error, harmless
local main = coroutine.running()
if pcall(coroutine.close, main) or coroutine.resume(main) then print("ESCAPED") end

--- a kill caught by a metamethod: timeout
local t = setmetatable({}, { __index = function() local ok = pcall(function() while true do end end) print("ESCAPED") return ok end })
return t.x

--- a kill caught by an iterator: timeout
for _ in function() pcall(function() while true do end end) print("ESCAPED") end do end

--- a kill caught by a sort: timeout
pcall(table.sort, { 1, 2, 3, 4 }, function() pcall(function() while true do end end) print("ESCAPED") return true end)

--- a kill caught by gsub in gsub: timeout
pcall(string.gsub, "x", "x", function() pcall(string.gsub, "x", "x", function() while true do end end) print("ESCAPED") end)

--- a kill caught by a reader of load: timeout
load(function() pcall(function() while true do end end) print("ESCAPED") end)

--- a kill caught by a close handler: timeout
do
  local c <close> = setmetatable({}, { __close = function() pcall(function() while true do end end) print("ESCAPED") end })
end

--- a kill caught by a coroutine in a coroutine: timeout
local f = coroutine.wrap(function()
  coroutine.resume(coroutine.create(function() while true do end end))
  print("ESCAPED")
end)
pcall(f)
