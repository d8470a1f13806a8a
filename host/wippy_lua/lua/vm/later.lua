-- Makes a table that `make` gives at the first look into it: most handlers need few of a VM's parts,
-- and each holds memory in every VM.

local setmetatable = setmetatable

return function(make)
  local metatable = {}
  function metatable.__index(_, key)
    local made = make()
    metatable.__index = made
    return made[key]
  end
  return setmetatable({}, metatable)
end
