-- Publishes the rows of a picture and prints its lines, in order, as they come back.

local logger = require("logger")
local queue = require("queue")
local store = require("store")
local time = require("time")
local uuid = require("uuid")

local USAGE = "usage: wippy-lua run examples/two_hosts/paint.lua --start mandelbrot:collector --drain"
  .. " -- [ROWS [COLUMNS [DEPTH]]]"
local PATIENCE = 60 -- seconds without the next line: then no renderer is there

local function publish_rows(job)
  local jobs = {}
  for row = 1, job.rows do
    jobs[row] = {
      picture = job.picture,
      row = row,
      rows = job.rows,
      columns = job.columns,
      depth = job.depth,
    }
  end
  return queue.publish_many("mandelbrot:rows", jobs)
end

--- Waits for one line, which may be there already.
local function wait_for(picture, key)
  local deadline = time.now():unix() + PATIENCE
  repeat
    local found, err = picture:get(key)
    if found or err then
      return found, err
    end
    time.sleep("20ms")
  until time.now():unix() > deadline
  return nil, ("no line in %d seconds: does a renderer run?"):format(PATIENCE)
end

local function print_lines(job)
  local picture, err = store.get("mandelbrot:picture")
  if not picture then
    return nil, err
  end
  local counts = {}
  for row = 1, job.rows do
    local found, problem = wait_for(picture, job.picture .. ":" .. row)
    if not found then
      return nil, problem
    end
    print(found.line)
    counts[found.renderer] = (counts[found.renderer] or 0) + 1
  end
  return counts
end

local function whole(text, default, least)
  local number = math.tointeger(tonumber(text or default))
  return number and number >= least and number or nil
end

local function main(rows, columns, depth)
  local job = {
    picture = uuid.v4(),
    rows = whole(rows, 32, 2),
    columns = whole(columns, 78, 2),
    depth = whole(depth, 100000, 1),
  }
  if not (job.rows and job.columns and job.depth) then
    return nil, USAGE
  end
  local ok, err = publish_rows(job)
  if not ok then
    return nil, err
  end
  local counts
  counts, err = print_lines(job)
  if not counts then
    return nil, err
  end
  logger.info("picture painted", { rows = job.rows, rows_by_renderer = counts })
end

return { main = main }
