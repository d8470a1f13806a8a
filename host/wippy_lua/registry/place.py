"""Where an app is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wippy_lua.errors import ConfigError
from wippy_lua.registry.entry import Source
from wippy_lua.registry.files import INDEX, read_file
from wippy_lua.registry.problem import Problem

MAIN = "main.lua"


@dataclass(frozen=True, slots=True)
class Place:
    """An app's folder, and its `main.lua` when it was given as one or has one."""

    folder: Path
    main: Path | None

    @classmethod
    def of(cls, path: Path) -> Place:
        """Finds an app by its folder, its `_index.yaml` or its `main.lua`; raises ConfigError."""
        if path.is_dir():
            main = path / MAIN
            return cls(path, main if main.is_file() else None)
        if not path.is_file():
            raise _wrong(path, "no such file or folder")
        if path.suffix == ".lua":
            return cls(path.parent, path)
        if path.name == INDEX:
            return cls.of(path.parent)
        raise _wrong(path, f"an app is a folder, an {INDEX} or a .lua file")

    def main_source(self) -> Source | None:
        """Returns the text of `main.lua`, None when there is none; raises ConfigError."""
        if self.main is None:
            return None
        try:
            return Source(self.main.name, read_file(self.main), self.main)
        except ValueError as error:
            raise _wrong(self.main, str(error)) from error


def _wrong(path: Path, message: str) -> ConfigError:
    return ConfigError([Problem(str(path), 0, 0, "", message)])
