-- `coroutine`, whose coroutines each have the hook and cannot keep a kill. Loaded at a script's first look.

local preempt, protected = ...

local c = coroutine
local error, pcall, type = error, pcall, type

local function raise_again(ok, ...)
  if not ok then
    error((...), 0)
  end
  return ...
end

local function safe_create(f)
  if type(f) ~= "function" then
    error("bad argument #1 to 'create' (function expected)", 2)
  end
  local thread = c.create(function(...)
    return raise_again(pcall(f, ...))
  end)
  preempt.arm(thread)
  return thread
end

local function safe_resume(thread, ...)
  return protected(c.resume(thread, ...))
end

local function safe_wrap(f)
  local thread = safe_create(f)
  return function(...)
    return raise_again(protected(c.resume(thread, ...)))
  end
end

local function safe_close(thread)
  return protected(c.close(thread))
end

return {
  close = safe_close,
  create = safe_create,
  isyieldable = c.isyieldable,
  resume = safe_resume,
  running = c.running,
  status = c.status,
  wrap = safe_wrap,
  yield = c.yield,
}
