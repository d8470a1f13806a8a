-- Preemption: the hook through which the host takes turns, and ends a call.
--
-- `tick` is the host's: it lets other greenlets run when the slice is over and returns true when
-- the call must end. `count` is how many VM instructions pass between two looks, or false for a
-- function that is trusted to run on.

local tick, count = ...

local error, pcall, gethook, sethook = error, pcall, debug.gethook, debug.sethook
local memory = collectgarbage

-- The error that ends a call. It says nothing: that a call is being ended is told by `killed`, and
-- whatever could catch an error raises it again then (see sandbox.lua). A string, because it may
-- reach the host, which would have to keep a reference to a table.
local KILL = "the call was ended"
local MEMORY = "not enough memory"

-- What restarting the hook's count costs: without it a loop of short unhooked calls would never
-- be looked at.
local UNHOOKED_CALL = 40
local BUDGET = 1000

-- One instruction can work on all of a VM's memory, so the looks come closer together as that grows,
-- in steps: count times memory stays what it is at FREE_MEMORY.
local FREE_MEMORY = 2048 -- KiB
local STEPS = 3 -- each of half the count, at twice the memory

local hook
local every = count -- VM instructions to the next look
local uniform = true -- whether every thread looks as often; once false, it stays so
local killed = false
local budget = BUDGET

-- Sets how soon the next look comes by the memory in use.
local function pace()
  if not count then
    return
  end
  local used, step = memory("count"), 0
  while used > FREE_MEMORY << step and step < STEPS do
    step = step + 1
  end
  if every ~= count >> step then
    every, uniform = count >> step, false
  end
end

-- To set a hook takes time in proportion to the depth of the stack.
local function set_count(wanted)
  local _, _, present = gethook()
  if present ~= wanted then
    sethook(hook, "", wanted)
  end
end

--- Ends the call. From now on the hook strikes at each instruction: on the way out every `<close>`
--- handler gets a go, thousands of them after a deep recursion.
local function kill()
  killed = true
  if count then
    set_count(1)
  end
  error(KILL, 0)
end

--- Lets others run when the slice is over; raises when the call must end.
local function check()
  if killed or count and tick() then
    kill()
  end
end

function hook()
  check()
  pace()
  if not uniform then
    set_count(every)
  end
end

--- Looks now, and again soon: for C functions that are given, or may give, something large.
local function look()
  check()
  if count then
    uniform = false
    set_count(count >> STEPS)
  end
end

--- Sets the hook on the running thread, or on `thread`.
local function arm(thread)
  if not count then
    return
  end
  if thread then
    sethook(thread, hook, "", every)
  else
    sethook(hook, "", every)
  end
end

--- Charges `n` units of work done without the hook, some ten VM instructions each.
local function spend(n)
  budget = budget - n
  if budget <= 0 then
    budget = BUDGET
    check()
  end
end

--- Takes the hook off the running thread. Its entry in the table of hooks stays: to make it again
--- may need memory, and where there is none the thread would go on without a hook.
local function disarm()
  sethook(hook, "")
end

--- Runs trusted code that charges its own work, without the hook, which would make it up to 1.5
--- times slower. One argument, three results: this is on the way of every message.
local function unhooked(fn, value)
  spend(UNHOOKED_CALL)
  if not count then
    return fn(value)
  end
  sethook(hook, "")
  local ok, first, second, third = pcall(fn, value)
  sethook(hook, "", every)
  if not ok then
    error(first, 0)
  end
  return first, second, third
end

--- Tells whether an error may not be caught by a script.
local function is_final(err)
  return killed or err == MEMORY
end

local function reset()
  killed = false
  budget = BUDGET
  pace()
end

return {
  MEMORY = MEMORY,
  arm = arm,
  check = check,
  disarm = disarm,
  is_final = is_final,
  kill = kill,
  killed = function() return killed end,
  look = look,
  reset = reset,
  spend = spend,
  unhooked = unhooked,
}
