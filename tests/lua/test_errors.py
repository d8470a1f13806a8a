"""Errors of Lua programs, through a real host."""

from __future__ import annotations

from pathlib import Path

import pytest

from wippy_lua import Host

APP = """
version: "1.0"
namespace: app
entries:
  - name: make
    kind: function.lua
    source: file://make.lua
    modules: [queue]
"""

MAKE = """
local queue = require("queue")

local makers = {
  new = function()
    local err = errors.new("made here")
    return err
  end,
  options = function()
    local err = errors.new({message = "made here"})
    return err
  end,
  wrap = function()
    local err = errors.wrap("made", "here")
    return err
  end,
  library = function()
    local _, err = queue.publish("", "no queue ID")
    return err
  end,
}

return function(maker)
  local frame = errors.call_stack(makers[maker]())[1]
  return {frame.source, frame.line}
end
"""


@pytest.mark.parametrize(
    ("maker", "text"),
    [
        ("new", 'errors.new("made here")'),
        ("options", "errors.new({"),
        ("wrap", "errors.wrap("),
        ("library", "queue.publish("),
    ],
)
def test_stack_of_an_error_begins_at_the_line_that_made_it(
    tmp_path: Path, maker: str, text: str
) -> None:
    (tmp_path / "_index.yaml").write_text(APP)
    (tmp_path / "make.lua").write_text(MAKE)
    with Host(tmp_path) as host:
        source, line = host.call("app:make", maker)
    assert source == "make.lua"
    assert text in MAKE.splitlines()[line - 1]
