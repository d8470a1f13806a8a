-- Values for the host and from it, as MessagePack: added to what modules get as their second argument.

local vm = ...

local select = select
local codec, unhooked = vm.codec, vm.unhooked

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
