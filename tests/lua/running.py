"""Lua run through a real host, from a folder that a test has written."""

from __future__ import annotations

from pathlib import Path

from wippy_lua.clock import Clock
from wippy_lua.host import Host

HEADER = 'version: "1.0"\nnamespace: app\nentries:\n'
#: Shows an error as a table that a test can compare.
HELPERS = """\
local function problem(value, err)
  if err == nil then return {value = value} end
  return {kind = err:kind(), message = err:message(), retryable = err:retryable(),
          details = err:details()}
end
"""


def host_of(folder: Path, *, entries: str = "", main: str = "", clock: Clock | None = None) -> Host:
    """Returns the host of an app with these entries and a `main.lua` with the helpers above."""
    if entries:
        (folder / "_index.yaml").write_text(HEADER + entries)
    (folder / "main.lua").write_text(HELPERS + main)
    return Host(folder, env={}, clock=clock)
