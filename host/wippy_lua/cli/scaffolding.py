"""`wippy-lua init`: a small app to begin with. Its files are in `scaffold/`."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import click

from wippy_lua.cli.report import FAILED, OK
from wippy_lua.lua.stdlib import stdlib_root
from wippy_lua.registry.schema import schema_text

TEMPLATES = ("main.lua", "_index.yaml", "greet.lua", "greet_test.lua")
EDITOR_SETTINGS = ".luarc.json"
SCHEMA = "wippy-lua.schema.json"  #: for the YAML language server; `_index.yaml` names it


def init(folder: Path) -> int:
    """Writes the files, or none of them when any is there already; returns the exit status."""
    contents = {name: _template(name) for name in TEMPLATES}
    contents[EDITOR_SETTINGS] = _editor_settings()
    contents[SCHEMA] = schema_text()
    existing = [name for name in contents if (folder / name).exists()]
    if existing:
        listed = ", ".join(str(folder / name) for name in existing)
        click.echo(f"error: would overwrite {listed}", err=True)
        return FAILED
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        click.echo(f"error: {error.filename}: {error.strerror}", err=True)
        return FAILED
    click.echo(_next_steps(folder, list(contents)))
    return OK


def _template(name: str) -> str:
    return (files(__package__) / "scaffold" / name).read_text(encoding="utf-8")


def _editor_settings() -> str:
    """Returns what the Lua language server needs to complete and check handlers."""
    settings = {
        "runtime.version": "Lua 5.4",
        "workspace.library": [str(stdlib_root())],
        "workspace.checkThirdParty": False,
        "diagnostics.globals": ["errors"],
    }
    return json.dumps(settings, indent=2) + "\n"


def _next_steps(folder: Path, names: list[str]) -> str:
    return "\n".join(
        [
            *(f"created {folder / name}" for name in names),
            "",
            "next:",
            f"  wippy-lua check {folder}         load everything, start nothing",
            f"  wippy-lua test {folder}          call greet_test.lua, with its queues in memory",
            f"  wippy-lua run {folder} --drain   run main.lua, handle what it published, exit",
            f"  wippy-lua run {folder}           the same, and serve until Ctrl-C",
        ]
    )
