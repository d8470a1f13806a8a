"""Small apps on disk, and their problems as text with places relative to the app's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.registry.schema import complaints
from wippy_lua.errors import ConfigError
from wippy_lua.registry.files import index_files
from wippy_lua.registry.loader import load_folder
from wippy_lua.registry.registry import Registry

HEADER = 'version: "1.0"\nnamespace: app\nentries:\n'

#: The queue system of the specification, with a driver, a queue, a handler and a consumer.
SPEC_INDEX = """\
version: "1.0"
namespace: app.queue
entries:
- name: memory_driver
  kind: queue.driver.memory
  lifecycle:
    auto_start: true
- name: tasks
  kind: queue.queue
  driver: app.queue:memory_driver
- name: task_consumer
  kind: queue.consumer
  queue: app.queue:tasks
  func: app.queue:task_handler
  concurrency: 4
  prefetch: 20
  lifecycle:
    auto_start: true
    depends_on:
      - app.queue:tasks
- name: task_handler
  kind: function.lua
  source: file://task_handler.lua
  modules:
    - json
    - logger
"""


class App:
    """A folder with an `_index.yaml` and whatever else a test writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str | bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)

    def index(self, entries: str) -> None:
        """Writes entries below the usual three lines; the first entry is in line 4."""
        self.write("_index.yaml", HEADER + entries)

    def load(
        self,
        *,
        env: Mapping[str, str] | None = None,
        overrides: Sequence[str] = (),
        modules: Sequence[str] | None = None,
    ) -> Registry:
        registry = load_folder(self.folder, env=env or {}, overrides=overrides, modules=modules)
        self.check_schema()
        return registry

    def check_schema(self) -> None:
        """Asserts that the schema takes the files, as the loader did."""
        for path in index_files(self.folder, lambda _error: None):
            text = path.read_text(encoding="utf-8-sig")
            assert complaints(text) == [], path

    def errors(self, **options: object) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load(**options)  # type: ignore[arg-type]
        return [self.relative(str(problem)) for problem in caught.value.problems]

    def relative(self, text: str) -> str:
        return text.replace(f"{self.folder.as_posix()}/", "")
