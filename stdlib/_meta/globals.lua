---@meta
error("Cannot require a meta file")

--- Structured errors; the module of the same name, without a `require`.
---@type errors
errors = {}

--- Writes its arguments to the log, as one line of level info.
---
--- Example:
--- ```lua
--- print("order", 7)
--- ```
---@param ... any
function print(...) end

--- Loads a module of the standard library or of the app, once for each VM.
---
--- A function finds what its entry lists in `modules` and `imports`; a bare `main.lua` every module,
--- and the files beside it by name. Raises for anything else.
---
--- Example:
--- ```lua
--- local json = require("json")
--- ```
---@param name string
---@return any module
function require(name) end
