import json
from pathlib import Path

import pytest

from tests.cli.command import wippy

pytestmark = pytest.mark.once  # its apps are processes of their own

FILES = {"main.lua", "greet.lua", "greet_test.lua", "_index.yaml"} | {
    ".luarc.json",
    "wippy-lua.schema.json",
}


def test_the_new_app_passes_check_and_runs_without_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "app"

    created = wippy("init", folder)

    assert created.returncode == 0
    assert {path.name for path in folder.iterdir()} == FILES
    assert f"wippy-lua run {folder}" in created.stdout
    assert wippy("check", folder).stdout == "ok: 6 entries\n"
    tested = wippy("test", folder)
    assert tested.returncode == 0, tested.stdout
    assert tested.stdout.splitlines()[-1].startswith("2 passed in ")
    ended = wippy("run", folder, "--drain", "--log-format", "json", "--", "Ada")
    records = [json.loads(line) for line in ended.stderr.splitlines()]
    assert ended.returncode == 0
    assert {record["level"] for record in records} == {"info"}
    assert [record["name"] for record in records if record["msg"] == "hello"] == ["Ada"]


def test_the_editor_settings_point_at_the_standard_library(tmp_path: Path) -> None:
    wippy("init", cwd=tmp_path)

    settings = json.loads((tmp_path / ".luarc.json").read_text())
    (library,) = settings["workspace.library"]
    assert (Path(library) / "queue.lua").is_file()


def test_the_index_names_the_schema_beside_it(tmp_path: Path) -> None:
    wippy("init", cwd=tmp_path)

    first = (tmp_path / "_index.yaml").read_text().splitlines()[0]
    name = first.removeprefix("# yaml-language-server: $schema=")
    assert (tmp_path / name).read_text() == wippy("schema").stdout
    assert json.loads(wippy("schema").stdout)["title"] == "wippy-lua _index.yaml"


def test_nothing_is_overwritten_or_half_written(tmp_path: Path) -> None:
    (tmp_path / "greet.lua").write_text("mine")

    ended = wippy("init", tmp_path)

    assert ended.returncode == 1
    assert ended.stderr == f"error: would overwrite {tmp_path}/greet.lua\n"
    assert {path.name for path in tmp_path.iterdir()} == {"greet.lua"}
    assert (tmp_path / "greet.lua").read_text() == "mine"
