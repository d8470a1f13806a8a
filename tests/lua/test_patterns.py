"""The pattern matcher in Lua gives what C gives, and can be interrupted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .guarded import SMALL_BLOCKS, GuardedVM

pytestmark = pytest.mark.once  # nothing here waits

ANY_TEXT = (
    "a b c . %a %d %s [ab] [^a] [a-c] %. [%a_] []] [^]] [a-] %S - ^ $ ] %f[a] %f[^b] %b() %bab %baa"
    " %1 %2 %0 () ( ) ( a ) b ) (a) (.-) (%a+) [ % %f %b %ba [a [% * ? + \0 \xe9 %z [%z\xe9-\xff]"
)
ANY_ATOMS = ANY_TEXT.split(" ")
GOOD_ATOMS = ["a", "b", "c", ".", "%a", "[ab]", "[^a]", "%s", "%S", "[b-]", "%(", "[%a_]"]
QUANTIFIERS = ["", "", "", "*", "+", "-", "?"]

subjects = st.text(alphabet="aaabbbc ()1.\0\xe9A]-", max_size=14)
inits = st.one_of(st.none(), st.integers(-16, 16))


@st.composite
def any_patterns(draw: st.DrawFn) -> str:
    """Draws patterns of which many are malformed."""
    item = st.tuples(st.sampled_from(ANY_ATOMS), st.sampled_from(QUANTIFIERS)).map("".join)
    anchor = draw(st.sampled_from(["", "", "^"]))
    return anchor + "".join(draw(st.lists(item, max_size=6))) + draw(st.sampled_from(["", "$"]))


@st.composite
def good_patterns(draw: st.DrawFn) -> str:
    """Draws patterns without a fault, with captures, back references and anchors."""
    parts = [draw(st.sampled_from(["", "", "^"]))]
    unclosed: list[int] = []
    closed: list[int] = []
    captures = 0
    kinds = st.sampled_from(["item"] * 6 + ["open", "close", "position", "back", "special"])
    for kind in draw(st.lists(kinds, max_size=9)):
        if kind == "item":
            parts += draw(st.sampled_from(GOOD_ATOMS)), draw(st.sampled_from(QUANTIFIERS))
        elif kind == "special":
            parts.append(draw(st.sampled_from(["%f[a]", "%f[%A]", "%bab", "%b()"])))
        elif kind == "close" and unclosed:
            closed.append(unclosed.pop())
            parts.append(")")
        elif kind == "back" and closed:
            parts.append(f"%{draw(st.sampled_from(closed))}")
        elif kind in {"open", "position"}:
            captures += 1
            parts.append("(" if kind == "open" else "()")
            if kind == "open":
                unclosed.append(captures)
    return "".join([*parts, ")" * len(unclosed), draw(st.sampled_from(["", "$"]))])


patterns = st.one_of(any_patterns(), good_patterns(), good_patterns())

COMPARE = """
local what, s, p, a, b = ...
if what == "gmatch" then
  local function all(gmatch)
    local found = {}
    for x, y, z in gmatch(s, p, a) do found[#found + 1] = {x, y, z} end
    return found
  end
  return outcome(all, native.string.gmatch), outcome(all, patterns.gmatch)
elseif what == "gsub" and a == 1 then
  a = function(x) if x == "a" then return false elseif x ~= "b" then return x .. "!" end end
elseif what == "gsub" and a == 2 then
  a = {a = "1", b = false, ab = 7, [1] = "p", [" "] = 1.5, c = true}
elseif what == "gsub" and a == 3 then
  a = function(...) return select("#", ...) end
end
return outcome(native.string[what], s, p, a, b), outcome(patterns[what], s, p, a, b)
"""


@pytest.fixture(scope="module")
def vm() -> GuardedVM:
    return GuardedVM()


@pytest.fixture(scope="module")
def small() -> GuardedVM:
    """A VM whose matcher works in blocks of three bytes."""
    vm = GuardedVM(SMALL_BLOCKS)
    assert vm.used == set(SMALL_BLOCKS)
    return vm


def assert_same(vm: GuardedVM, what: str, *args: object) -> None:
    values = [a.encode("latin-1") if isinstance(a, str) else a for a in args]
    native, ours = vm.run(COMPARE, what.encode(), *values)
    assert ours == native


fuzz = settings(max_examples=400, deadline=None, database=None)


@fuzz
@given(subject=subjects, pattern=patterns, init=inits)
def test_find_and_match_give_what_c_gives(
    vm: GuardedVM, small: GuardedVM, subject: str, pattern: str, init: int | None
) -> None:
    for each in (vm, small):
        assert_same(each, "find", subject, pattern, init)
        assert_same(each, "match", subject, pattern, init)


@fuzz
@given(subject=subjects, pattern=patterns, init=inits)
def test_gmatch_gives_what_c_gives(
    vm: GuardedVM, small: GuardedVM, subject: str, pattern: str, init: int | None
) -> None:
    for each in (vm, small):
        assert_same(each, "gmatch", subject, pattern, init)


replacements = st.one_of(
    st.lists(st.sampled_from(["x", "%0", "%1", "%2", "%%", "%", "%a", "%9", ""]), max_size=3).map(
        "".join
    ),
    st.sampled_from([1, 2, 3]),
)


@fuzz
@given(
    subject=subjects,
    pattern=patterns,
    repl=replacements,
    most=st.one_of(st.none(), st.integers(-1, 3)),
)
def test_gsub_gives_what_c_gives(
    vm: GuardedVM, small: GuardedVM, subject: str, pattern: str, repl: str | int, most: int | None
) -> None:
    for each in (vm, small):
        assert_same(each, "gsub", subject, pattern, repl, most)


@fuzz
@given(
    subject=st.text(alphabet="ab", max_size=20),
    needle=st.text(alphabet="ab", max_size=6),
    init=inits,
)
def test_plain_find_gives_what_c_gives(
    vm: GuardedVM, small: GuardedVM, subject: str, needle: str, init: int | None
) -> None:
    source = """
    local s, needle, init = ...
    return outcome(native.string.find, s, needle, init, true),
      outcome(patterns.find_plain, s, needle, init)
    """
    for each in (vm, small):
        native, ours = each.run(source, subject.encode(), needle.encode(), init)
        assert ours == native


@pytest.mark.parametrize(
    "pattern",
    [
        "%",
        "a%",
        "[a",
        "[^",
        "[a%",
        "%f",
        "%fa",
        "%f[a",
        "%b",
        "%bx",
        "%1",
        "(a)%2",
        "(a%1)",
        "(a",
        "a)",
        "()" * 33,
        "(" * 33,
    ],
)
@pytest.mark.parametrize("what", ["find", "match", "gmatch"])
def test_malformed_pattern_has_the_message_of_c(vm: GuardedVM, what: str, pattern: str) -> None:
    assert_same(vm, what, "aaaa", pattern)


def test_every_class_agrees_with_c_on_every_byte(vm: GuardedVM) -> None:
    classes = ["%" + c for c in "acdglpsuwxzACDGLPSUWXZ"] + [".", "[^%w]", "[\0-\x1f\x7f-\xff]"]
    for text in [*classes, "[%-+]", "[%a-z]", "[+--]", "[]-a]", "[^]-a]", "[%]]"]:
        for repeated in (text, text + "+", f"({text}-)$"):
            assert_same(vm, "gsub", "".join(map(chr, range(256))), repeated, "<%0>")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("(%w+)=(%w+)", (40002, 40010, b"key", b"value")),
        ("%b()", (80012, 150013)),
        ("^x* ", (1, 40001)),
        ("y+%(", (40012, 80012)),
        ("%f[y]yy", (40012, 40013)),
        ("z-%)$", (80013, 150013)),
        ("%(.-%)", (80012, 150013)),
        ("q", None),
        ("()=", (40005, 40005, 40005)),
    ],
)
def test_subject_longer_than_a_block_matches_across_its_borders(
    vm: GuardedVM, pattern: str, expected: object
) -> None:
    source = """
    local s = ("x"):rep(40000) .. " key=value " .. ("y"):rep(40000)
    s = s .. "(" .. ("z"):rep(70000) .. ")"
    return patterns.find(s, ...)
    """
    assert vm.run(source, pattern.encode()) == expected


def test_error_blames_the_line_that_called_the_matcher(vm: GuardedVM) -> None:
    source = "local ok, e = pcall(function()\n return 1, patterns.find('a', '[a') end) return e"
    assert vm.run(source) == b"script:2: malformed pattern (missing ']')"


def test_gmatch_error_blames_the_loop(vm: GuardedVM) -> None:
    source = (
        "local ok, e = pcall(function()\n for x in patterns.gmatch('a', '%') do end end) return e"
    )
    assert vm.run(source) == b"script:2: malformed pattern (ends with '%')"


def test_callback_may_use_the_same_pattern_again(vm: GuardedVM) -> None:
    source = """
    local function inner(s) return (patterns.gsub(s, "(%a)(%d)", "%2%1")) end
    return patterns.gsub("a1b2c3", "(%a)(%d)", function(a, d) return inner(a .. d) .. "," end)
    """
    assert vm.run(source) == (b"1a,2b,3c,", 3)


def test_callback_of_gsub_may_yield(vm: GuardedVM) -> None:
    source = """
    local co = coroutine.wrap(function() return (patterns.gsub("ab", ".", coroutine.yield)) end)
    co() co("1") return co("2")
    """
    assert vm.run(source) == b"12"


def test_pattern_with_more_quantifiers_than_c_can_take_still_matches(vm: GuardedVM) -> None:
    assert vm.run("return patterns.find(('a'):rep(300), ('a?'):rep(300))") == (1, 300)


def test_pattern_with_absurdly_many_quantifiers_is_refused(vm: GuardedVM) -> None:
    source = "local ok, e = pcall(patterns.find, ('a'):rep(9), ('a?'):rep(2000)) return e"
    assert vm.run(source) == b"pattern too complex"


@pytest.mark.parametrize(
    ("pattern", "least"),
    [
        ("[^,]+", 500_000),
        ("%s+", 500_000),
        ("^%s*(.-)%s*$", 1000),
        ("^(%w+)%s*=%s*(.*)$", 100_000),
        ("(%w+)=(%w+)", 1000),
        ("([^\n]*)\n", 500),
        ('"(.-)"', 1000),
    ],
)
def test_ordinary_pattern_stays_in_c_on_a_subject_of_this_length(
    vm: GuardedVM, pattern: str, least: int
) -> None:
    assert vm.run("return patterns.syntax(...).native", pattern.encode()) >= least


@pytest.mark.parametrize(
    ("pattern", "most"),
    [("a*a*a*a*b", 30), ("a?" * 30 + "a" * 30, 0), ("(a*)*b", 2000), (".-.-.-x", 300)],
)
def test_expensive_pattern_leaves_c_beyond_this_length(
    vm: GuardedVM, pattern: str, most: int
) -> None:
    assert vm.run("return patterns.syntax(...).native", pattern.encode()) <= most


@pytest.mark.parametrize(
    ("pattern", "unit", "matches"),
    [
        ("([^\n]*)\n", "a line of ordinary length\n", 38_461),
        ("(%w+)=(%w+)", "key=value, ", 90_909),
        ("%s+", "word ", 200_000),
        ("<(.-)>", "text < ", 0),
        ('"[^"]*"', "nothing quoted here, ", 0),
        ("a*b", "aaaaaaaaaa", 0),
    ],
)
def test_megabyte_is_matched_in_linear_time(
    vm: GuardedVM, pattern: str, unit: str, matches: int
) -> None:
    source = """
    local pattern, unit = ...
    local s = unit:rep(1000000 // #unit)
    return within(60000, function()
      local found = 0
      for _ in patterns.gmatch(s, pattern) do found = found + 1 end
      return found
    end)
    """
    assert vm.run(source, pattern.encode(), unit.encode()) == matches


def test_trim_of_a_large_text_is_linear(vm: GuardedVM) -> None:
    source = """
    local s = "  " .. ("ab  c "):rep(20000) .. ("  "):rep(20000)
    return #within(8000, patterns.match, s, "^%s*(.-)%s*$")
    """
    assert vm.run(source) == 6 * 20000 - 1
