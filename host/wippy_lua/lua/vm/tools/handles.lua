-- Objects that stand for entries of the app: added to what modules get as their second argument.

local vm = ...

local error, setmetatable, type = error, setmetatable, type

--- Returns how objects are made that stand for entries of the app: `open` is the host's check that
--- there is one of an ID, `noun` what error messages call it.
---
--- `handles.open(id)` returns an object, or nil and an error. `handles.id_of(object)` is for its
--- methods to call directly: the ID, false once `handles.close(object)` was called.
function vm.handles(name, noun, methods, open)
  local metatable = vm.read_only(name, methods)
  local ids = setmetatable({}, { __mode = "k" })
  local handles = {}

  function handles.open(id)
    if type(id) ~= "string" or id == "" then
      return vm.invalid(noun .. " ID must be a non-empty string")
    end
    local ok, err = open(id)
    if not ok then
      return nil, err
    end
    local object = vm.protect(setmetatable({}, metatable))
    ids[object] = id
    return object
  end

  function handles.id_of(object)
    local id = ids[object]
    if id == nil then
      error(("not a %s: call its methods with ':'"):format(noun), 3)
    end
    return id
  end

  function handles.close(object)
    ids[object] = false
  end

  return handles
end
