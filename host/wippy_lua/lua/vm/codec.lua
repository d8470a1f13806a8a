-- JSON and MessagePack, for message bodies and the `json` module.
--
-- The codecs run in the trusted environment and without the preemption hook. So they answer for
-- their own running time: `spend(n)` is called for every thousand or so units of work (about a
-- value, or 64 bytes), at least once per call, and may raise. They raise nothing by themselves.
-- Tables of users are read raw, with `next` and `rawget`: a metamethod could run for ever here.
--
-- Failures travel up as values, because `pcall` could swallow what `spend` raises. An encoder
-- returns `nil, failure` in place of the new length of its output, a decoder `failure, nil` in
-- place of a value and the position after it.
--
-- Called as chunk(part, later, spend); `part(name, ...)` runs another file of the VM with arguments,
-- `later(make)` gives what `make` gives at the first look.

local part, later, spend = ...

local collectgarbage, rawset, setmetatable = collectgarbage, rawset, setmetatable

-- A whole collection of more would stop everybody, and gain little.
local SMALL = 512 -- KiB

local work = part("codec/work", spend)
local output = later(function()
  return part("codec/output", work)
end)

-- Each codec is loaded at its first use: few handlers need all four.
return setmetatable({ null = work.null, is_object = work.is_object }, {
  __index = function(codec, name)
    local convert = part("codec/" .. name, work, output)
    rawset(codec, name, convert)
    if collectgarbage("count") < SMALL then
      collectgarbage() -- what it was loaded from is as large as itself
    end
    return convert
  end,
})
