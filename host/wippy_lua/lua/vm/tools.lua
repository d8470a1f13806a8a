-- What the modules of the standard library get as their second argument.
--
-- boot.lua adds what it knows of the call in progress, errors.lua the making of errors.

local preempt, sandbox, codec, later = ...

local getinfo, select, tostring, traceback = debug.getinfo, select, tostring, debug.traceback

local check, unhooked = preempt.check, preempt.unhooked

local vm = {
  check = check,
  codec = codec,
  later = later,
  null = sandbox.protect(codec.null),
  protect = sandbox.protect,
  unhooked = unhooked,
}

--- Encodes a value for the host, any bytes and numbers unchanged; nil and an INVALID error.
function vm.pack(value)
  local bytes, problem = unhooked(codec.msgpack_encode, value)
  if not bytes then
    return nil, vm.error(problem, "Invalid", false)
  end
  return bytes
end

local function list(...)
  local values = { ... }
  for i = 1, select("#", ...) do
    if values[i] == nil then
      values[i] = vm.null
    end
  end
  return values
end

--- Encodes arguments for a function, nils included; nil and an INVALID error.
function vm.pack_arguments(...)
  return vm.pack(list(...))
end

--- Decodes what the host packed.
function vm.unpack(bytes)
  return (unhooked(codec.msgpack_decode, bytes))
end

--- Returns "file:line" of the script that called a library function.
function vm.caller(level)
  local info = getinfo(level + 1, "Sl")
  return info and info.short_src .. ":" .. info.currentline or ""
end

--- Returns a value as text. `tostring` alone may return a number: `__tostring` can.
function vm.text(value)
  return tostring(value) .. ""
end

local DEEP = 100 -- levels; C walks a stack several times, up to some 200,000 levels of it

--- Returns the traceback of its caller's caller, or of one `level` above.
function vm.traceback(level)
  if getinfo(DEEP, "l") then
    check()
  end
  return traceback("", level + 1)
end

return vm
