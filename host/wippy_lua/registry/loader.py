"""The `_index.yaml` files of a folder to a registry, or to every problem they have."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from wippy_lua.errors import ConfigError
from wippy_lua.registry.build import Declaration
from wippy_lua.registry.entry import NAME_RULE, is_name
from wippy_lua.registry.files import index_files, read_file
from wippy_lua.registry.overrides import apply_overrides
from wippy_lua.registry.problem import Mark, Problem, in_file_order, problem_at
from wippy_lua.registry.registry import Registry
from wippy_lua.registry.suggest import did_you_mean
from wippy_lua.registry.tree import Item, Node, TreeError, describe

VERSION = "1.0"

_FILE_FIELDS = ("version", "namespace", "entries", "meta")


def load_folder(
    path: Path,
    *,
    env: Mapping[str, str],
    overrides: Sequence[str] = (),
    modules: Collection[str] | None = None,
    kinds: Collection[str] = ("",),
) -> Registry:
    """Returns the registry of a folder; a folder without any `_index.yaml` has an empty one.

    `modules` are the names that entries may list; None checks none. Entries that are not of
    `kinds`, or below them, are as if they were not there. Raises `ConfigError` with every error
    of every file.
    """
    loading = _Loading(env)
    loading.read(path)
    declarations, problems = apply_overrides(loading.declarations, overrides, env)
    declarations = [each for each in declarations if each.is_of(kinds)]
    registry = Registry(path, modules=modules)
    problems += loading.problems + registry.fill(declarations)
    if problems:
        # One place can be reached twice, through an alias.
        raise ConfigError(sorted(dict.fromkeys(problems), key=in_file_order))
    return registry


class _Loading:
    """Collects declarations and problems, file by file."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.declarations: list[Declaration] = []
        self.problems: list[Problem] = []
        self._env = env
        self._places: dict[str, Mark] = {}

    def read(self, folder: Path) -> None:
        if not folder.is_dir():
            self._report(Mark(folder.as_posix()), "", "is not a folder")
            return
        for path in index_files(folder, self._report_os_error):
            self._read_file(path)

    def _read_file(self, path: Path) -> None:
        # Imported here: an app that is only a main.lua needs no YAML at all.
        from wippy_lua.registry.reader import read_yaml

        file = path.as_posix()
        try:
            root, problems = read_yaml(_text(path), file, self._env)
        except TreeError as error:
            self._report(error.mark, "", error.message)
            return
        for mark, message in problems:
            self._report(mark, "", message)
        self._read_document(root, path.parent)

    def _read_document(self, root: Node, folder: Path) -> None:
        if not isinstance(root.value, dict):
            what = "must be a map with version, namespace and entries"
            self._report(root.mark, "", f"{what}, not {describe(root)}")
            return
        for name, item in root.value.items():
            if name not in _FILE_FIELDS:
                meant = did_you_mean(name, _FILE_FIELDS)
                self._report(item.mark, "", f"unknown field {name!r}{meant}")
        self._check_version(root)
        namespace = self._name(root, "namespace")
        for node in self._entry_nodes(root.value.get("entries")):
            self._read_entry(node, namespace, folder)

    def _check_version(self, root: Node) -> None:
        node = _field(root, "version")
        if node is None:
            self._report(root.mark, "", "missing field 'version'")
        elif node.value not in (VERSION, float(VERSION)) or isinstance(node.value, bool | int):
            message = f'version must be "{VERSION}", not {describe(node)}'
            self._report(node.mark, "", message)

    def _entry_nodes(self, item: Item | None) -> list[Node]:
        if item is None or item.node.value is None:
            return []
        if isinstance(item.node.value, list):
            return item.node.value
        self._report(item.node.mark, "", f"entries must be a list, not {describe(item.node)}")
        return []

    def _read_entry(self, node: Node, namespace: str | None, folder: Path) -> None:
        if not isinstance(node.value, dict):
            self._report(node.mark, "", f"an entry must be a map, not {describe(node)}")
            return
        name = self._name(node, "name")
        if name is None or namespace is None:
            return
        entry_id = f"{namespace}:{name}"
        if entry_id in self._places:
            message = f"duplicate ID, first defined at {self._places[entry_id]}"
            self._report(node.mark, entry_id, message)
            return
        self._places[entry_id] = node.mark
        self.declarations.append(Declaration(entry_id, node.mark, folder, node.value))

    def _name(self, parent: Node, field: str) -> str | None:
        node = _field(parent, field)
        if node is None:
            self._report(parent.mark, "", f"missing field {field!r}")
            return None
        text = node.value if node.text is None else node.text
        if isinstance(text, str) and is_name(text):
            return text
        message = f"{field} must be {NAME_RULE}, not {describe(node)}"
        self._report(node.mark, "", message)
        return None

    def _report_os_error(self, error: OSError) -> None:
        self._report(Mark(str(error.filename)), "", f"cannot be read: {error.strerror}")

    def _report(self, mark: Mark, entry: str, message: str) -> None:
        self.problems.append(problem_at(mark, entry, message))


def _field(parent: Node, name: str) -> Node | None:
    """Returns a field that is there and not empty."""
    item = parent.value.get(name) if isinstance(parent.value, dict) else None
    return None if item is None or item.node.value is None else item.node


def _text(path: Path) -> str:
    file = path.as_posix()
    try:
        data = read_file(path).removeprefix(BOM_UTF8)
    except ValueError as error:
        raise TreeError(Mark(file), str(error)) from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        mark = Mark(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise TreeError(mark, "is not UTF-8") from error
