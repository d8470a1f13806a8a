-- Programs: a chunk that runs once, and the `main` of what it returns.

local vm, start_call, run, load_main, calls = ...

local error, ipairs, type = error, ipairs, type

local pending -- what to do once the program's chunk has returned, nil when it has

--- Runs `action` when the program has returned its exports: now, or after its chunk.
function vm.when_loaded(action)
  if pending then
    pending[#pending + 1] = action
    return true
  end
  return action()
end

local function run_pending()
  local actions = pending
  pending = nil
  for _, action in ipairs(actions) do
    local ok, err = action()
    if not ok then
      error(err, 0)
    end
  end
end

local function load_and_run(source, chunk_name, ...)
  pending = {}
  local main, err = load_main(source, chunk_name, ...)
  run_pending()
  if type(main) == "table" then
    if type(main.main) == "function" then
      return main.main(...)
    end
  elseif type(main) ~= "function" then
    return main, err
  end
end

--- Runs a program: its chunk, then the `main` of the table that it returned, if there is one.
local function run_program(source, chunk_name, ...)
  start_call(true)
  return calls.result(run(load_and_run, source, chunk_name, ...))
end

return { run = run_program }
