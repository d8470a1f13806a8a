"""The bounded libraries behave as the native ones, and nothing in them holds the VM for long."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .guarded import SMALL_CHUNKS, GuardedVM

pytestmark = pytest.mark.once  # nothing here waits


@pytest.fixture(scope="module")
def vm() -> GuardedVM:
    return GuardedVM()


@pytest.fixture(scope="module")
def small() -> GuardedVM:
    """A VM whose table functions work in chunks of two elements."""
    vm = GuardedVM(SMALL_CHUNKS)
    assert vm.used == set(SMALL_CHUNKS)
    return vm


# --- nothing holds the VM -------------------------------------------------------------------------

MIB = "1024 * 1024"
#: A table of some 60 elements whose length is over 2^61: that is how far doubling finds any.
POWERS = "".join(f"[{4 << k}] = 'x', " for k in range(1, 60))
CRAFTED = "local t = {'a', 'b', 'c', 'd', [5] = 'e', " + POWERS + "} "
LIAR = "local t = setmetatable({}, {__len = function() return 1 << 62 end}) "
VOID = "local t = setmetatable({}, {__len = function() return 1 << 62 end, __index = {}}) "

#: Scripts that would run for ever, or very long, with the native libraries.
ATTACKS = {
    "concat of a liar's range": "local t = setmetatable({}, {__index = function() return '' end})"
    " table.concat(t, '', 1, 1 << 62)",
    "crafted insert": CRAFTED + "table.insert(t, 1, 'x')",
    "crafted remove": CRAFTED + "table.remove(t, 1)",
    "insert into a liar": LIAR + "table.insert(t, 1, 'x')",
    "remove from a liar": LIAR + "table.remove(t, 1)",
    "liar's index table": VOID + "table.remove(t, 1)",
    "sort of a liar": "local t = setmetatable({}, {__len = function() return 1 << 30 end,"
    " __index = function() return 1 end, __newindex = function() end}) table.sort(t)",
    "sort of many": "local t = {} for i = 1, 3000000 do t[i] = i * 7919 % 3000017 end"
    " table.sort(t)",
    "sort by a C function": "local t = {} for i = 1, 3000000 do t[i] = i * 7919 % 3000017 end"
    " table.sort(t, math.ult)",
    "sort without an order": "local t = {} for i = 1, 1000000 do t[i] = i end"
    " while true do table.sort(t, function() return false end) end",
    "move over a giant range": "table.move({}, 1, 1 << 62, 2)",
    "move of nothing to elsewhere": "table.move({}, 1, 1 << 62, 1, {})",
    "move downwards": "table.move({}, 1, 1 << 62, 100)",
    "move through metamethods": VOID + "table.move(t, 1, 1 << 62, 1, {})",
    "inserts at the front": "local t = {} while true do table.insert(t, 1, 0) end",
    "removes at the front": "local t = {} for i = 1, 1000000 do t[i] = i end"
    " while true do table.remove(t, 1) t[#t + 1] = 0 end",
    "stars": "(('a'):rep(5000)):find('a*a*a*a*b')",
    "stars in match": "(('a'):rep(5000)):match('a*a*a*a*b')",
    "stars in gmatch": "for _ in (('a'):rep(5000)):gmatch('a*a*a*a*b') do end",
    "stars in gsub": "(('a'):rep(5000)):gsub('a*a*a*a*b', '')",
    "plus with captures": "(('a'):rep(20000)):find('(a+)(a+)(a+)%1b')",
    "optionals": "(('a'):rep(30)):find(('a?'):rep(30) .. ('a'):rep(30) .. 'b')",
    "lazy": "(('a'):rep(5000)):find('.-.-.-.-b')",
    "lazy in a class": "(('a'):rep(5000)):find('[ab]-[ab]-[ab]-[ab]-c')",
    "balance without an end": "(('('):rep(1000000)):find('%b()%b()')",
    "back references": "(('a'):rep(200000)):find('(.*)%1b')",
    "frontier": "while true do (('a '):rep(10000)):find('%f[%a]a +%f[%d]') end",
    "long pattern": "(('a'):rep(1000000)):find(('a'):rep(300000) .. '.b')",
    "replacement of nothing": "(('a'):rep(100000)):gsub('()', ('%%'):rep(0) .. ('%1'):rep(100000))",
    "empty captures in a replacement": "(('a'):rep(1000000)):gsub('x*()', ('%0'):rep(1000000))",
    "plain find of huge in huge": f"local n = 16 * {MIB}"
    " (('a'):rep(n)):find(('a'):rep(n // 2) .. 'b', 1, true)",
    "pattern without specials in huge": f"local s = ('a'):rep(16 * {MIB})"
    " while true do s:find('aaaaaaaaaaaaaaab') end",
    "empty rep": "while true do string.rep('', 1 << 62) end",
    "huge rep": f"while true do ('x'):rep(32 * {MIB}) end",
    "upper of huge": f"local s = ('x'):rep(32 * {MIB}) while true do s:upper() end",
    "quoting of huge": f"local s = ('\\0'):rep(4 * {MIB}) while true do ('%q'):format(s) end",
    "format with many arguments": "local t = {} for i = 1, 50 do t[i] = i end"
    " while true do (('%d'):rep(50)):format(table.unpack(t)) end",
    "utf8 length of huge": f"local s = ('x'):rep(32 * {MIB}) while true do utf8.len(s) end",
    "utf8 offset in huge": f"local s = ('x'):rep(32 * {MIB}) while true do utf8.offset(s, #s) end",
    "packsize of huge": "local f = ('b'):rep(1000000) while true do string.packsize(f) end",
    "unpack of many": "local t = {} for i = 1, 900000 do t[i] = i end"
    " while true do select('#', table.unpack(t)) end",
    "finished iterator": "local f = ('a'):rep(1100):gmatch('a*b') while true do f() end",
    "collections": "while true do collectgarbage() end",
    "steps of collections": "while true do collectgarbage('step', 1 << 30) end",
    "numerals in base 36": f"local s = ('z'):rep(8 * {MIB}) while true do tonumber(s, 36) end",
    "characters of many codes": "local t = {} for i = 1, 300000 do t[i] = 120 end"
    " while true do utf8.char(table.unpack(t)) end",
    "dates": "while true do os.date(('%c'):rep(2000)) end",
}


@pytest.mark.parametrize("source", ATTACKS.values(), ids=ATTACKS.keys())
def test_attack_is_interrupted(source: str) -> None:
    attack = GuardedVM().attack(source)
    assert attack.end == "interrupted"
    assert attack.longest_gap < 0.5


def test_long_set_is_searched_in_blocks(vm: GuardedVM) -> None:
    attack = vm.attack("(('a'):rep(300000)):find('[' .. ('b'):rep(60000) .. 'a]*c')", 5.0)
    assert attack.end == "finished"
    assert attack.longest_gap < 0.5


@pytest.mark.parametrize(
    ("source", "end"),
    [
        (CRAFTED + "table.concat(t)", "invalid value (nil) at index 6 in table for 'concat'"),
        (LIAR + "table.sort(t)", "bad argument #1 to 'sort' (array too big)"),
        ("table.concat({}, 'x', 1, 1 << 62)", "invalid value (nil) at index 1"),
        ("table.unpack({}, 1, 1 << 62)", "too many results to unpack"),
        ("table.unpack({}, math.mininteger, math.maxinteger)", "too many results to unpack"),
        ("table.unpack({}, 1, 1000000)", "too many results to unpack"),
        (LIAR + "table.unpack(t)", "too many results to unpack"),
        ("string.rep('x', 1 << 62)", "resulting string too large"),
        ("string.rep('x', 1, ('y'):rep(1 << 40))", "resulting string too large"),
        ("os.date(('%c'):rep(100000))", "bad argument #1 to 'date' (format too long)"),
        ("os.date('%Q')", "invalid conversion specifier '%Q'"),
        ("os.date('*t', 1 << 62)", "date result cannot be represented in this installation"),
        ("os.time({year = 1 << 40, month = 1, day = 1})", "field 'year' is out-of-bound"),
        ("os.time({year = 2000})", "field 'month' missing in date table"),
        ("collectgarbage('stop')", "bad argument #1 to 'collectgarbage' (invalid option 'stop')"),
    ],
)
def test_absurd_argument_is_an_error_at_once(vm: GuardedVM, source: str, end: str) -> None:
    attack = vm.attack(source)
    assert end in attack.end
    assert attack.seconds < 1.0


def test_only_harmless_functions_of_os_are_left(vm: GuardedVM) -> None:
    source = """
    local names = {}
    for name in pairs(bounded.os) do names[#names + 1] = name end
    table.sort(names)
    return table.concat(names, " ")
    """
    assert vm.run(source) == b"clock date difftime time"


@pytest.mark.parametrize("library", ["string", "table", "utf8", "math"])
def test_library_has_every_native_function_but_dump(vm: GuardedVM, library: str) -> None:
    source = """
    local library, missing = ..., {}
    for name in pairs(native[library] or _G[library]) do
      if bounded[library][name] == nil then missing[#missing + 1] = name end
    end
    return table.concat(missing)
    """
    assert vm.run(source, library.encode()) == (b"dump" if library == "string" else b"")


def test_collectgarbage_counts_and_lets_others_run(vm: GuardedVM) -> None:
    source = """
    take_ticks()
    return bounded.collectgarbage("count") > 0, bounded.collectgarbage(), take_ticks()
    """
    assert vm.run(source) == (True, 0, 1)


# --- ordinary use -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "('key = value'):match('^(%w+)%s*=%s*(.*)$')",
        "('a,b,c'):gsub(',', ';')",
        "table.insert({1, 2}, 3)",
        "table.concat({'a', 'b'}, ', ')",
        "('%5.2f %s'):format(1.5, 'x')",
        "('x'):rep(1000)",
        "(('word '):rep(1000)):gsub('%s+', ' ')",
        "(('word '):rep(1000)):find('nothing', 1, true)",
        "table.sort({3, 1, 2})",
        "table.unpack({1, 2, 3})",
    ],
)
def test_ordinary_call_does_not_tick(vm: GuardedVM, source: str) -> None:
    assert (
        vm.run(
            f"take_ticks() local _ = {source} return take_ticks()".replace(
                "local _ = table.insert", "bounded.table.insert"
            )
        )
        == 0
    )


STRINGS = [
    "'rep', 'ab', 3",
    "'rep', 'ab', 3, ','",
    "'rep', 'ab', 0",
    "'rep', 'ab', -1",
    "'rep', '', 100",
    "'rep', '', 3, ','",
    "'rep', 'ab', '3'",
    "'rep', 12, 2.0, 3",
    "'rep', 'x', 1.5",
    "'rep', 'x', 'y'",
    "'rep', 'x', '1.5'",
    "'rep', {}, 1",
    "'rep', 'x', 1, {}",
    "'rep', 'x', nil",
    "'find', 'abc', 'b'",
    "'find', 'abc', 'b', -1",
    "'find', 'abc', 'b', '1'",
    "'find', 'a.c', '.', 1, true",
    "'find', 'a.c', '.', nil, 1",
    "'find', 123, 2",
    "'find', 'abc', '', 10",
    "'find', 'abc', '', 4",
    "'find', nil, 'a'",
    "'find', 'a', nil",
    "'find', 'a', 'a', {}",
    "'find', 'a', 'a', false",
    "'match', 'abc', '(b)(c)'",
    "'match', 12.5, '%d+'",
    "'match', {}, 'a'",
    "'match', 'a', 'a', 1.5",
    "'gsub', 'abc', '%w', '%0%0'",
    "'gsub', 'abc', '%w', '%0%0', 2",
    "'gsub', 'abc', '', '-'",
    "'gsub', 'abc', 'b', 5",
    "'gsub', 'abc', 'b', 5.5",
    "'gsub', 'abc', 'b', true",
    "'gsub', 'abc', 'b', 'x', 'y'",
    "'gsub', 'abc', 'b', '%'",
    "'gsub', 'abc', '%', 'x'",
    "'gsub', 123, 2, 'x'",
    "'gmatch', nil, 'x'",
    "'gmatch', 'x', 'x', {}",
    "'upper', 'aBc'",
    "'upper', 12",
    "'upper', nil",
    "'lower', 'aBc'",
    "'reverse', 'abc'",
    "'reverse', {}",
    "'format', '%d %s', 3, 'x'",
    "'byte', 'abc', 1, -1",
    "'pack', '<i4', 100",
    "'unpack', '<i4', 'abcd'",
    "'packsize', '<i4i8'",
]


@pytest.mark.parametrize("arguments", STRINGS)
def test_string_function_gives_what_the_native_one_gives(vm: GuardedVM, arguments: str) -> None:
    source = f"""
    local name, _ = {arguments.split(",")[0]}
    local function call(f, _, ...) return f(...) end
    local function run(string)
      local f = string[name]
      local result = table.pack(f(select(2, {arguments})))
      return result
    end
    return (outcome(run, native.string):gsub("local 'f'", name)), outcome(run, bounded.string)
    """
    native, ours = vm.run(source)
    assert ours == native


def test_method_call_counts_arguments_without_self(vm: GuardedVM) -> None:
    source = "local ok, e = pcall(function()\n local s = ('x'):rep({}) end) return e"
    expected = b"script:2: bad argument #1 to 'rep' (number expected, got table)"
    assert vm.run(source) == expected


@pytest.mark.parametrize(
    "call",
    [
        "string.rep('x', {})",
        "string.rep('x', 1 << 60)",
        "string.find('x', '[')",
        "string.find(('x'):rep(5000), '[')",
        "string.gsub('x', 'x', true)",
        "string.format('%d', 'x')",
        "table.concat({{}})",
        "table.concat({}, '', 1, 1 << 40)",
        "table.insert({}, 5, 5)",
        "table.insert({})",
        "table.remove({}, 5)",
        "table.unpack({}, 1, 1 << 40)",
        "table.move({}, 1, 2)",
        "table.move({}, 1, 1, math.maxinteger, {}) table.move({}, 0, math.maxinteger, 1)",
        "table.sort({1, 2}, 5)",
        "table.sort(setmetatable({}, {__len = function() return 'x' end}))",
        "os.date('%Q')",
        "collectgarbage('x')",
    ],
)
def test_error_blames_the_line_of_the_caller(vm: GuardedVM, call: str) -> None:
    source = f"""
    local string, table, os, collectgarbage =
      bounded.string, bounded.table, bounded.os, bounded.collectgarbage
    local ok, problem = pcall(function()
      local _ = nil; {call}
    end)
    return problem
    """
    assert vm.run(source).startswith(b"script:5: ")


# --- tables -------------------------------------------------------------------------------------

values = st.one_of(st.integers(-3, 3), st.sampled_from([b"a", b"b", b"", None, True, 1.5]))
indexes = st.one_of(st.integers(-2, 9), st.sampled_from([None, b"2", 2.0, 1.5, b"x"]))
ENDS = [2**63 - 1, -(2**63), 2**62]
far_indexes = st.one_of(indexes, st.sampled_from(ENDS))

TABLES = """
local name, kind, a, b, c, d, count, n, items = ...
local function make()
  local data = {}
  for i = 1, n do data[i] = items(i - 1) end
  if kind == "plain" then return data end
  if kind == "empty" then return setmetatable(data, {}) end
  local log = {}
  return setmetatable({log = log}, {
    __len = function() return kind == "liar" and "4" or #data end,
    __index = function(_, k) log[#log + 1] = "get " .. tostring(k) return data[k] end,
    __newindex = function(_, k, v)
      log[#log + 1] = "set " .. tostring(k) .. "=" .. tostring(v)
      data[k] = v
    end,
  })
end
local function run(library)
  local t = make()
  local arguments = table.pack(a, b, c, d)
  local function call()
    local result = table.pack(library[name](t, table.unpack(arguments, 1, count)))
    return table.unpack(result, 1, result.n)
  end
  return outcome(call) .. "\\n" .. outcome(function() return t end)
end
return run(native.table), run(bounded.table)
"""


def assert_same_tables(
    each: GuardedVM, name: str, kind: str, items: list[object], arguments: list[object]
) -> None:
    padded = [*arguments, None, None, None, None][:4]
    native, ours = each.run(
        TABLES,
        name.encode(),
        kind.encode(),
        *padded,
        len(arguments),
        len(items),
        items.__getitem__,
    )
    assert ours == native


fuzz = settings(max_examples=300, deadline=None, database=None)
kinds = st.sampled_from(["plain", "empty", "proxy", "liar"])


@fuzz
@given(
    kind=kinds,
    items=st.lists(values, max_size=9),
    name=st.sampled_from(["insert", "remove"]),
    arguments=st.lists(st.one_of(indexes, values), max_size=3),
)
def test_insert_and_remove_give_what_the_native_ones_give(
    vm: GuardedVM,
    small: GuardedVM,
    kind: str,
    items: list[object],
    name: str,
    arguments: list[object],
) -> None:
    for each in (vm, small):
        assert_same_tables(each, name, kind, items, arguments)


@fuzz
@given(
    kind=kinds,
    items=st.lists(values, max_size=9),
    separator=st.sampled_from([None, b"", b", ", 5, True]),
    ends=st.lists(indexes, max_size=2),
)
def test_concat_gives_what_the_native_one_gives(
    vm: GuardedVM,
    small: GuardedVM,
    kind: str,
    items: list[object],
    separator: object,
    ends: list[object],
) -> None:
    for each in (vm, small):
        assert_same_tables(each, "concat", kind, items, [separator, *ends])


@fuzz
@given(kind=kinds, items=st.lists(values, max_size=9), ends=st.lists(indexes, max_size=2))
def test_unpack_gives_what_the_native_one_gives(
    vm: GuardedVM, small: GuardedVM, kind: str, items: list[object], ends: list[object]
) -> None:
    for each in (vm, small):
        assert_same_tables(each, "unpack", kind, items, ends)


@fuzz
@given(
    kind=kinds,
    items=st.lists(values, max_size=9),
    ends=st.tuples(indexes, indexes, far_indexes),
)
def test_move_gives_what_the_native_one_gives(
    vm: GuardedVM,
    small: GuardedVM,
    kind: str,
    items: list[object],
    ends: tuple[object, object, object],
) -> None:
    for each in (vm, small):
        assert_same_tables(each, "move", kind, items, list(ends))


@fuzz
@given(
    kind=st.sampled_from(["plain", "empty"]),
    items=st.one_of(
        st.lists(st.integers(-9, 9), max_size=12),
        st.lists(st.sampled_from([b"a", b"b", b"c", b"ab"]), max_size=12),
    ),
)
def test_sort_gives_what_the_native_one_gives(
    vm: GuardedVM, small: GuardedVM, kind: str, items: list[object]
) -> None:
    for each in (vm, small):
        assert_same_tables(each, "sort", kind, items, [])


def test_sort_through_metamethods_sorts_what_they_stand_for(vm: GuardedVM) -> None:
    source = """
    local data = {3, 1, 2}
    local proxy = setmetatable({}, {
      __len = function() return #data end,
      __index = function(_, k) return data[k] end,
      __newindex = function(_, k, v) data[k] = v end,
    })
    bounded.table.sort(proxy, function(a, b) return a > b end)
    return table.concat(data, " "), rawequal(next(proxy), nil)
    """
    assert vm.run(source) == (b"3 2 1", True)


def test_sort_of_many_is_sorted(vm: GuardedVM) -> None:
    source = """
    local t = {}
    for i = 1, 20000 do t[i] = i * 7919 % 20011 end
    bounded.table.sort(t)
    for i = 2, #t do if t[i - 1] > t[i] then return i end end
    return 0
    """
    assert vm.run(source) == 0


def test_inconsistent_comparator_is_an_error(vm: GuardedVM) -> None:
    source = """
    local t = {}
    for i = 1, 10000 do t[i] = i end
    return outcome(bounded.table.sort, t, function() return true end)
    """
    assert vm.run(source).endswith(b"invalid order function for sorting")


def test_failed_sort_through_metamethods_leaves_the_table_alone(vm: GuardedVM) -> None:
    source = """
    local t = setmetatable({3, 1, 2}, {})
    pcall(bounded.table.sort, t, function() error("no") end)
    return table.concat(t, " ")
    """
    assert vm.run(source) == b"3 1 2"


def test_large_tables_give_what_the_native_functions_give(vm: GuardedVM) -> None:
    source = """
    local function make() local t = {} for i = 1, 20000 do t[i] = i end return t end
    local function run(table)
      local t = make()
      table.insert(t, 5, "x")
      local removed = table.remove(t, 9)
      table.move(t, 1, 15000, 3)
      table.move(t, 4000, 15000, 2)
      table.move(t, 1, 9000, 20000)
      return removed, #t, table.concat(t, ","), select("#", table.unpack(t))
    end
    return outcome(run, native.table) == outcome(run, bounded.table)
    """
    assert vm.run(source) is True
