-- What the modules of the standard library get as their second argument.
--
-- boot.lua adds what it knows of the call in progress, modules.lua the making of errors. The rest is
-- loaded when it is first asked for.

local part, preempt, sandbox, codec, later = ...

local rawget, setmetatable = rawget, setmetatable

-- The file in tools/ that adds a function.
local HOMES = {
  caller = "traces",
  handles = "handles",
  invalid = "objects",
  pack = "values",
  pack_arguments = "values",
  read_only = "objects",
  script_place = "traces",
  text = "traces",
  traceback = "traces",
  try = "traces",
  unpack = "values",
}

return setmetatable({
  check = preempt.check,
  codec = codec,
  later = later,
  metatable_of = debug.getmetatable,
  null = sandbox.protect(codec.null),
  protect = sandbox.protect,
  unhooked = preempt.unhooked,
}, {
  __index = function(vm, name)
    local home = HOMES[name]
    if home then
      part("tools/" .. home, vm, preempt)
    end
    return rawget(vm, name)
  end,
})
