-- Puts a line into the picture. Setting it twice changes nothing, so a repeated delivery is harmless.

local store = require("store")

local function collect(rendered)
  local picture, err = store.get("mandelbrot:picture")
  if not picture then
    return nil, err
  end
  -- A line of an earlier picture, whose painter was stopped, is under a key that nobody asks for.
  return picture:set(rendered.picture .. ":" .. rendered.row, {
    line = rendered.line,
    renderer = rendered.renderer,
  }, "10m")
end

return collect
