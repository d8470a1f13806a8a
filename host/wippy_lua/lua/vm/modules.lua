-- Modules: `require`, and what is behind it.

local part, sandbox, native, vm, wrap = ...

local error, load, pcall = error, load, pcall
local setmetatable, tostring, type = setmetatable, tostring, type

local env, freeze = sandbox.env, sandbox.freeze
local resolve = wrap(native.resolve)

local LOADING = {}
local loaded = {}
local scripts = {} -- names of the app's own modules among `loaded`

local host_function = wrap(native.host_function)

-- Makes the table of a library's host functions. Each is made at its first use: most calls use few.
local function functions_of(library)
  return setmetatable({}, {
    __index = function(functions, name)
      local made = wrap(host_function(library, name))
      functions[name] = made
      return made
    end,
  })
end

local function load_library(name, bytecode)
  local chunk = load(bytecode, name, "b", _G)
  return freeze(chunk(functions_of(name), vm), name)
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

local function load_host_module(name, ...)
  return freeze(part("host_module", vm, wrap(native.invoke))(name, ...), name)
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

local errors

local function load_errors()
  errors = errors or vm.part("errors", {}, vm)
  return errors
end

--- Makes an error, as errors.lua says, which puts its own function in this one's place.
function vm.error(...)
  load_errors()
  return vm.error(...)
end

--- Returns the facts of an error; before errors.lua is loaded there is none.
function vm.facts()
  return nil
end

loaded.errors = sandbox.freeze_later(load_errors, "errors")
env.errors = loaded.errors

return { loaded = loaded, scripts = scripts }
