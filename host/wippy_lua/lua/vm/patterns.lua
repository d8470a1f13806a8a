-- The pattern functions of Lua 5.4 written in Lua, so that a count hook sees their steps.
--
-- `string.find` and its kin run in C, where no hook can end them, and some patterns need longer
-- than anybody can wait. The functions here give the same results and the same errors. They take
-- checked arguments: strings, an integer `init`, a replacement of a legal type.

local pattern_syntax, matcher = ...

local byte, sub, c_find = string.byte, string.sub, string.find
local concat = table.concat
local compile, state, search = matcher.compile, matcher.state, matcher.search
local capture, all_captures, raise = matcher.capture, matcher.all_captures, matcher.raise

local MAX_PIECES = 1024 -- of a result, before they are joined
local WINDOW = 32768 -- bytes that one plain search looks at
local MAX_HEAD = 256 -- bytes of a needle that it looks for

matcher.own[debug.getinfo(1, "S").source] = true

local patterns = { syntax = pattern_syntax.syntax, cost = pattern_syntax.cost }

-- Gives the position that `init` means, or nil when it is past the end of the subject.
local function start_of(s, init)
  if not init or init == 0 then
    return 1
  elseif init < 0 then
    return init < -#s and 1 or #s + init + 1
  end
  return init <= #s + 1 and init or nil
end

-- Finds text in text; the needle's head is searched in blocks, so that no C call takes long.
function patterns.find_plain(s, text, init)
  local i, length = start_of(s, init), #text
  local head = sub(text, 1, MAX_HEAD)
  while i and i + length - 1 <= #s do
    local found = c_find(sub(s, i, i + WINDOW + #head - 2), head, 1, true)
    if not found then
      i = i + WINDOW
    else
      i = i + found - 1
      if length == #head or sub(s, i, i + length - 1) == text then
        return i, i + length - 1
      end
      i = i + 1
    end
  end
  return nil
end

function patterns.find(s, p, init)
  local program, m, i = compile(p), state(s), start_of(s, init)
  if program.plain then -- so that ")" is text here, and a fault in `match`
    return patterns.find_plain(s, p, init)
  end
  local from, stop
  if i then
    from, stop = search(m, program, i)
  end
  if not from then
    return nil
  elseif #program.captures == 0 then
    return from, stop - 1
  end
  return from, stop - 1, all_captures(m, program.captures, from, stop)
end

function patterns.match(s, p, init)
  local program, m, i = compile(p), state(s), start_of(s, init)
  local from, stop
  if i then
    from, stop = search(m, program, i)
  end
  if not from then
    return nil
  end
  return all_captures(m, program.captures, from, stop)
end

function patterns.gmatch(s, p, init)
  local program, m = compile(p, true), state(s)
  local i, last = start_of(s, init), nil
  return function()
    local from, stop
    if i then
      from, stop = search(m, program, i, last)
    end
    i, last = stop, stop
    if not from then
      return nil
    end
    return all_captures(m, program.captures, from, stop)
  end
end

-- Parses a replacement into texts and capture numbers (0 is the whole match).
local function template(repl, captures)
  local parts, i = {}, 1
  while i <= #repl do
    local escape = c_find(repl, "%", i, true)
    if escape ~= i then
      parts[#parts + 1] = sub(repl, i, (escape or 0) - 1)
    end
    if not escape then
      break
    end
    local c = sub(repl, escape + 1, escape + 1)
    local index = c_find(c, "^%d") and byte(c) - 48
    if not index and c ~= "%" then
      raise("invalid use of '%' in replacement string")
    elseif index and index > 0 and captures[index] ~= "position" then
      if captures[index] == "open" then
        raise("unfinished capture")
      elseif not captures[index] and index > 1 then
        raise("invalid capture index %" .. index)
      end
    end
    parts[#parts + 1] = index or c
    i = escape + 2
  end
  return parts
end

-- Gives the function (m, from, stop) that makes a match's replacement; nil or false keeps the text.
local function replacer(repl, captures)
  local kind = type(repl)
  if kind == "function" then
    return function(m, from, stop)
      return (repl(all_captures(m, captures, from, stop)))
    end
  elseif kind == "table" then
    return function(m, from, stop)
      return repl[capture(m, captures, 1, from, stop)]
    end
  end
  local parts
  return function(m, from, stop)
    parts = parts or template(repl, captures) -- what is wrong with it shows at the first match
    local texts = {}
    for index = 1, #parts do
      local part = parts[index]
      if part == 0 then
        part = sub(m.s, from, stop - 1)
      elseif type(part) == "number" then
        part = capture(m, captures, part, from, stop)
      end
      texts[index] = part
    end
    return concat(texts)
  end
end

-- Appends a piece; joins the pieces now and then, so that a result of many stays small.
local function append(pieces, joined, piece)
  pieces[#pieces + 1] = piece
  if #pieces >= MAX_PIECES then
    joined[#joined + 1] = concat(pieces)
    return {}
  end
  return pieces
end

function patterns.gsub(s, p, repl, most)
  local program, m = compile(p), state(s)
  local replace = replacer(repl, program.captures)
  local pieces, joined = {}, {}
  local i, last, kept, count = 1, nil, 1, 0
  while count < (most or #s + 1) do
    local from, stop = search(m, program, i, last)
    if not from then
      break
    end
    count = count + 1
    local value = replace(m, from, stop)
    if value then
      if type(value) ~= "string" and type(value) ~= "number" then
        raise("invalid replacement value (a " .. type(value) .. ")")
      end
      pieces = append(pieces, joined, sub(s, kept, from - 1))
      pieces = append(pieces, joined, value)
      kept = stop
    end
    i, last = stop, stop
    if program.anchored then
      break
    end
  end
  if kept == 1 and #joined == 0 and #pieces == 0 then
    return s, count
  end
  joined[#joined + 1] = concat(pieces)
  joined[#joined + 1] = sub(s, kept)
  return concat(joined), count
end

return patterns
