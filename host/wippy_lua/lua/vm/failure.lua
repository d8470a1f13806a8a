-- What an error comes to for the host, as plain values. Loaded at a VM's first failure.

local preempt, codec, vm = ...

local pcall, sub = pcall, string.sub
local arm, disarm, is_killed = preempt.arm, preempt.disarm, preempt.killed

local MAX_TEXT = 8192 -- bytes of an error's message and of its stack that reach the host
local MAX_DETAILS = 65536 -- packed; larger ones stay behind

local function pack_details(details)
  local packed = details ~= nil and codec.msgpack_encode(details) or nil
  return packed and #packed <= MAX_DETAILS and packed or nil
end

-- By an error's facts, not by its methods, which a script can replace.
local function describe(err, stack)
  local text = sub(vm.text(err), 1, MAX_TEXT)
  local facts = vm.facts(err)
  if not facts then
    return text, "", nil, sub(stack, 1, MAX_TEXT)
  end
  return text, facts.kind, facts.retryable, sub(facts.stack, 1, MAX_TEXT), pack_details(facts.details)
end

local failure = {}

--- Describes an error, which may run the script's own `__tostring`; `stack` is where it was raised.
function failure.report(err, stack)
  arm()
  local ok, text, kind, retryable, own_stack, details = pcall(describe, err, stack)
  disarm()
  if is_killed() then
    return "killed"
  elseif not ok then
    if text == preempt.MEMORY then
      return "memory"
    end
    return "error", "the error could not be shown: its __tostring failed"
  end
  return "error", text, kind, retryable, own_stack, details
end

return failure
