-- `load` for scripts: text alone, of bounded length, that sees their own world.

local preempt, env = ...

local concat, format = table.concat, string.format
local load, select, tostring, type = load, select, tostring, type

-- The compiler is C code, which no hook interrupts, and some sources take it time in proportion to
-- their length squared.
local MAX_SOURCE = 262144 -- bytes that `load` takes
local BYTES_PER_UNIT = 16 -- of source, in what `spend` counts

local TOO_LONG = format("source is longer than %d KiB", MAX_SOURCE // 1024)

local function collect(reader)
  local pieces, size = {}, 0
  while true do
    local piece = reader()
    if piece == nil or piece == "" then
      return concat(pieces)
    end
    if type(piece) ~= "string" then
      return nil, "reader function must return a string"
    end
    size = size + #piece
    if size > MAX_SOURCE then
      return nil, TOO_LONG
    end
    pieces[#pieces + 1] = piece
  end
end

return function(chunk, name, mode, ...)
  local source, problem = chunk, nil
  if type(chunk) == "function" then
    source, problem = collect(chunk)
  end
  if type(source) ~= "string" then
    return nil, problem or "bad argument #1 to 'load' (string or function expected)"
  end
  if #source > MAX_SOURCE then
    return nil, TOO_LONG
  end
  if mode ~= nil and mode ~= "t" and mode ~= "bt" then
    return nil, "attempt to load a text chunk (mode is '" .. tostring(mode) .. "')"
  end
  local chunk_env = env
  if select("#", ...) > 0 then
    chunk_env = ...
  end
  preempt.spend(#source // BYTES_PER_UNIT)
  return load(source, name == nil and "=(load)" or name, "t", chunk_env)
end
