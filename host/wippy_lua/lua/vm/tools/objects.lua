-- Objects that modules of the standard library hand out, and the error that most of them answer
-- with: added to what those modules get as their second argument.

local vm = ...

local error = error

--- Returns nil and an INVALID error: for what the caller has to correct.
function vm.invalid(message)
  return nil, vm.error(message, "Invalid", false)
end

--- Returns the metatable of objects that have these methods and nothing that a script could set.
function vm.read_only(name, methods)
  return {
    __index = methods,
    __name = name,
    __metatable = false,
    __newindex = function()
      error(name .. " is read-only", 2)
    end,
  }
end
