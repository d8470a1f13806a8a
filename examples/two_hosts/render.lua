-- Renders one row of the Mandelbrot set as a line of text and sends it back.

local env = require("env")
local logger = require("logger")
local queue = require("queue")

local SHADES = " .:-=+*%#"
local LEFT, RIGHT, TOP, BOTTOM = -2.2, 0.8, -1.2, 1.2

--- Counts the steps until a point escapes, `depth` at most.
local function escape(x, y, depth)
  local a, b = 0.0, 0.0
  for step = 1, depth do
    local a2, b2 = a * a, b * b
    if a2 + b2 > 4.0 then
      return step
    end
    a, b = a2 - b2 + x, 2 * a * b + y
  end
  return depth
end

local function shade(steps, depth)
  if steps == depth then
    return "@"
  end
  local index = steps % #SHADES + 1
  return SHADES:sub(index, index)
end

local function line_of(job)
  local y = TOP + (BOTTOM - TOP) * (job.row - 1) / (job.rows - 1)
  local characters = {}
  for column = 1, job.columns do
    local x = LEFT + (RIGHT - LEFT) * (column - 1) / (job.columns - 1)
    characters[column] = shade(escape(x, y, job.depth), job.depth)
  end
  return table.concat(characters)
end

local function render(job)
  local renderer = env.get("RENDERER") or "renderer"
  local line = line_of(job)
  -- The line is safe at the broker before the row is acknowledged. A host that dies between the two
  -- sends it twice, never not at all; collect.lua does not mind.
  local ok, err = queue.publish("mandelbrot:lines", {
    picture = job.picture,
    row = job.row,
    line = line,
    renderer = renderer,
  })
  if not ok then
    return nil, err
  end
  logger.info("row rendered", { renderer = renderer, row = job.row })
end

return render
