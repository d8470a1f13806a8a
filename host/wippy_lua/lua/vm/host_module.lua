-- Modules of Python functions; arguments and results cross as MessagePack.

local vm, invoke = ...

local select = select

return function(name, ...)
  local module = {}
  for i = 1, select("#", ...) do
    local function_name = select(i, ...)
    module[function_name] = function(...)
      local arguments, problem = vm.pack_arguments(...)
      if not arguments then
        return nil, problem
      end
      local result, err = invoke(name, function_name, arguments)
      if err then
        return nil, err
      end
      return vm.unpack(result)
    end
  end
  return module
end
