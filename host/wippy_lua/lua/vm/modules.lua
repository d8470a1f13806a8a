-- Modules: `require`, and what is behind it.

local sandbox, native, vm, wrap = ...

local error, load, pairs, pcall, select = error, load, pairs, pcall, select
local tostring, type = tostring, type

local env, freeze = sandbox.env, sandbox.freeze
local resolve, invoke = wrap(native.resolve), wrap(native.invoke)

local LOADING = {}
local loaded = {}
local scripts = {} -- names of the app's own modules among `loaded`

local function collect_functions(...)
  local functions = {}
  for i = 1, select("#", ...), 2 do
    local name, host_function = select(i, ...)
    functions[name] = wrap(host_function)
  end
  return functions
end

local function load_library(name, bytecode, ...)
  local chunk = load(bytecode, name, "b", _G)
  return freeze(chunk(collect_functions(...), vm), name)
end

local function load_script(name, source, chunk_name)
  local chunk, problem = load(source, chunk_name, "t", env)
  if not chunk then
    error(problem, 0)
  end
  scripts[name] = true
  local result = chunk(name)
  return result == nil and true or result
end

local library_part = wrap(native.library_part)

--- Runs "library/part", a file of a library that has several, and returns what it returned.
function vm.part(name, ...)
  return load(library_part(name), name, "b", _G)(...)
end

--- Makes a module of Python functions; arguments and results cross as MessagePack.
local function load_host_module(name, ...)
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
  return freeze(module, name)
end

local loaders = { library = load_library, script = load_script, host = load_host_module }

local function install(name, kind, ...)
  if not kind then
    error(tostring((...)), 3)
  end
  loaded[name] = LOADING
  local ok, module = pcall(loaders[kind], name, ...)
  if not ok then
    loaded[name] = nil
    error(module, 0)
  end
  loaded[name] = module
  return module
end

--- Loads a module that the entry's `modules` or `imports` allow, once for each VM.
function env.require(name)
  if type(name) ~= "string" then
    error("bad argument #1 to 'require' (string expected, got " .. type(name) .. ")", 2)
  end
  local module = loaded[name]
  if module == LOADING then
    error("loop of modules: '" .. name .. "' requires itself", 2)
  end
  if module ~= nil then
    return module
  end
  module = install(name, resolve(name))
  return module -- no tail call: an error's position is counted from here
end

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
local function export_of(main, fn)
  local name = export_in(main, fn)
  if name then
    return "", name
  end
  local names = {}
  for module_name in pairs(scripts) do
    names[#names + 1] = module_name
  end
  table.sort(names)
  for _, module_name in ipairs(names) do
    name = export_in(loaded[module_name], fn)
    if name then
      return module_name, name
    end
  end
end

loaded.errors = load_library("errors", native.errors)
env.errors = loaded.errors

return { export_of = export_of }
