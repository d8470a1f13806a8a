"""The package as a user gets it: built, installed into an empty environment, run there."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command that must succeed."""
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the built wheel."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=ROOT)
    [built] = out.glob("*.whl")
    return built


def install(folder: Path, what: Path) -> Path:
    """Installs into a fresh virtual environment; returns its folder of commands."""
    venv.create(folder, with_pip=True)
    bin_folder = folder / "bin"
    run(bin_folder / "python", "-m", "pip", "install", "--quiet", what, cwd=folder)
    return bin_folder


def hellos(bin_folder: Path, cwd: Path) -> list[str]:
    """Runs the hello example with an installed command; returns whom it greeted."""
    example = ROOT / "examples" / "hello" / "main.lua"
    options = ("--drain", "--log-format", "json")
    done = run(bin_folder / "wippy-lua", "run", example, *options, cwd=cwd)
    lines = map(json.loads, done.stderr.splitlines())
    return [line["name"] for line in lines if line["msg"] == "hello"]


def test_the_wheel_holds_the_lua_files_and_the_marker_of_types(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    assert {
        "wippy_lua/py.typed",
        "wippy_lua/stdlib/queue.lua",
        "wippy_lua/stdlib/time/point.lua",
        "wippy_lua/lua/vm/boot.lua",
    } <= names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"wippy_lua", next(top for top in tops if top.endswith(".dist-info"))}


def assert_runs_examples(commands: Path, cwd: Path) -> None:
    """Runs an app of one file and one with a registry."""
    assert hellos(commands, cwd) == ["world"]
    run(commands / "wippy-lua", "run", ROOT / "examples" / "tasks", "--drain", cwd=cwd)


def test_the_installed_wheel_runs_apps(wheel: Path, tmp_path: Path) -> None:
    assert_runs_examples(install(tmp_path / "venv", wheel), tmp_path)


def test_an_install_from_the_checkout_runs_apps(tmp_path: Path) -> None:
    assert_runs_examples(install(tmp_path / "venv", ROOT), tmp_path)
