-- Under which name a function of the app can be called again: by programs that consume with their own.

local loaded, scripts = ...

local ipairs, pairs, sort, type = ipairs, pairs, table.sort, type

local function export_in(module, fn)
  if module == fn then
    return ""
  elseif type(module) ~= "table" then
    return nil
  end
  local first
  for name, value in pairs(module) do
    if value == fn and type(name) == "string" and (not first or name < first) then
      first = name
    end
  end
  return first
end

--- Finds the module ("" for the program itself, which exports `main`) and the name under which a
--- function is exported: the program's first, then the modules' in alphabetical order.
return function(main, fn)
  local name = export_in(main, fn)
  if name then
    return "", name
  end
  local names = {}
  for module_name in pairs(scripts) do
    names[#names + 1] = module_name
  end
  sort(names)
  for _, module_name in ipairs(names) do
    name = export_in(loaded[module_name], fn)
    if name then
      return module_name, name
    end
  end
end
