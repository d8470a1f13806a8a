-- Where code is and what it raised: added to what modules get as their second argument.

local vm, preempt = ...

local error, getinfo, sub, tostring = error, debug.getinfo, string.sub, tostring
local traceback, xpcall = debug.traceback, xpcall
local check, is_final = preempt.check, preempt.is_final

--- Returns "file:line" of the script that called a library function.
function vm.caller(level)
  local info = getinfo(level + 1, "Sl")
  return info and info.short_src .. ":" .. info.currentline or ""
end

local DEEP = 100 -- levels; C walks a stack several times, up to some 200,000 levels of it

--- Returns "file:line" of the innermost code of a script that runs, "" when there is none: a tail
--- call takes the place of who makes it.
function vm.script_place()
  for level = 2, DEEP do
    local info = getinfo(level, "Sl")
    if not info then
      break
    elseif sub(info.source, 1, 1) == "@" and info.currentline > 0 then
      return info.short_src .. ":" .. info.currentline
    end
  end
  return ""
end

--- Returns a value as text. `tostring` alone may return a number: `__tostring` can.
function vm.text(value)
  return tostring(value) .. ""
end

--- Returns the traceback of its caller's caller, or of one `level` above.
function vm.traceback(level)
  if getinfo(DEEP, "l") then
    check()
  end
  return traceback("", level + 1)
end

local stack = "" -- of the last error that `try` caught

local function trace(err)
  stack = is_final(err) and "" or traceback("", 2)
  return err
end

local function caught(ok, first, second)
  if ok then
    return true, first, second
  elseif is_final(first) then
    error(first, 0)
  end
  check()
  return false, first, stack
end

--- Calls a function; true and its first two results, or false, what it raised and the traceback of
--- that. What ends the call goes through, as with a script's own `pcall`.
function vm.try(fn)
  return caught(xpcall(fn, trace))
end
