--- Folders that the app lets its functions read, each an entry of kind `fs.directory`.
---
--- Paths start from the entry's folder, with a "/" in front or without, and never lead out of it.

local host, vm = ...

local type = type

---@class fs
local M = {}

local invalid = vm.invalid

---@alias fs.Type "file"|"directory"|"other"

--- What a folder holds.
---@class fs.Entry
---@field name string
---@field type fs.Type of what a link points to; "other" when that is nothing, or outside
---@field size integer bytes

--- What is known of a file or folder.
---@class fs.Stat
---@field name string "/" for the folder itself
---@field type fs.Type
---@field size integer bytes
---@field modified integer Unix seconds
---@field is_dir boolean

--- A folder. Its methods wait for the disk while other handlers run. Errors: NOT_FOUND; INVALID
--- for a path that is empty or has a NUL byte, and for what the method cannot read;
--- PERMISSION_DENIED for what leads out of the folder, and what the system forbids.
---@class fs.Directory
local Directory = {}

local handles = vm.handles("fs.Directory", "directory", Directory, host.open)

--- Opens a folder by the ID of its entry; NOT_FOUND when there is none.
---
--- Example:
--- ```lua
--- local templates = fs.get("app:templates")
--- ```
---@param id string
---@return fs.Directory? directory
---@return Error? err
function M.get(id)
  return handles.open(id)
end

--- Makes a method that takes a path.
local function method(call)
  return function(self, path)
    local id = handles.id_of(self)
    if type(path) ~= "string" then
      return invalid("path must be a string, not a " .. type(path))
    end
    return call(id, path)
  end
end

--- Returns an iterator over what is in a folder, sorted by name.
---
--- Example:
--- ```lua
--- local templates = fs.get("app:templates")
--- for entry in templates:readdir("/mails") do
---   logger.info("found", {name = entry.name, size = entry.size})
--- end
--- ```
---@type fun(self: fs.Directory, path: string): (fun(): fs.Entry?)?, Error?
Directory.readdir = method(function(id, path)
  local packed, err = host.readdir(id, path)
  if not packed then
    return nil, err
  end
  local entries, index = vm.unpack(packed), 0
  return function()
    index = index + 1
    return entries[index] and vm.unpack(entries[index])
  end
end)

--- Returns the contents of a file of at most 16 MiB, every byte of them.
---
--- Example:
--- ```lua
--- local templates = fs.get("app:templates")
--- local text, err = templates:readfile("mails/welcome.txt")
--- ```
---@type fun(self: fs.Directory, path: string): string?, Error?
Directory.readfile = method(function(id, path)
  return host.readfile(id, path)
end)

--- Returns what is known of a file or folder; of what a link points to.
---
--- Example:
--- ```lua
--- local templates = fs.get("app:templates")
--- local age = time.now():unix() - templates:stat("mails/welcome.txt").modified
--- ```
---@type fun(self: fs.Directory, path: string): fs.Stat?, Error?
Directory.stat = method(function(id, path)
  local packed, err = host.stat(id, path)
  if not packed then
    return nil, err
  end
  return vm.unpack(packed)
end)

return M
