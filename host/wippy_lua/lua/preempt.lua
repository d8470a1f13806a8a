-- Preemption: the hook through which the host takes turns, and ends a call.
--
-- `tick` is the host's: it lets other greenlets run when the slice is over and returns true when
-- the call must end. `count` is how many VM instructions pass between two looks, or false for a
-- function that is trusted to run on.

local tick, count = ...

local error, pcall, sethook = error, pcall, debug.sethook

-- The error that ends a call. Scripts never get hold of it: whatever could catch it raises it
-- again (see sandbox.lua).
local KILL = setmetatable({}, { __name = "kill", __metatable = false })
local MEMORY = "not enough memory"

-- What restarting the hook's count costs: without it a loop of short unhooked calls would never
-- be looked at.
local UNHOOKED_CALL = 40
local BUDGET = 1000

local killed = false
local budget = BUDGET

--- Asks the host whether the call may go on; raises when it may not.
local function check()
  if killed or tick() then
    killed = true
    error(KILL, 0)
  end
end

local function hook()
  check()
end

--- Sets the hook on the running thread, or on `thread`.
local function arm(thread)
  if not count then
    return
  end
  if thread then
    sethook(thread, hook, "", count)
  else
    sethook(hook, "", count)
  end
end

--- Charges `n` units of work done without the hook, some ten VM instructions each.
local function spend(n)
  budget = budget - n
  if budget <= 0 then
    budget = BUDGET
    if count then
      check()
    end
  end
end

local function rearmed(ok, ...)
  sethook(hook, "", count)
  if not ok then
    error((...), 0)
  end
  return ...
end

--- Runs trusted code that charges its own work, without the hook, which would make it up to 1.5
--- times slower.
local function unhooked(fn, ...)
  spend(UNHOOKED_CALL)
  if not count then
    return fn(...)
  end
  sethook()
  return rearmed(pcall(fn, ...))
end

--- Ends the call from inside a host function.
local function kill()
  killed = true
  error(KILL, 0)
end

--- Tells whether an error may not be caught by a script.
local function is_final(err)
  return killed or err == KILL or err == MEMORY
end

local function reset()
  killed = false
  budget = BUDGET
end

return {
  MEMORY = MEMORY,
  arm = arm,
  check = check,
  disarm = function() sethook() end,
  is_final = is_final,
  kill = kill,
  killed = function() return killed end,
  reset = reset,
  spend = spend,
  unhooked = unhooked,
}
