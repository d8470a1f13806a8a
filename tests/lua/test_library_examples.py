"""Every example in the annotations of the standard modules runs as it is printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.annotations import Function, module_names, read_globals, read_module
from tests.lua.whole_app import MODULES, handle_message, handler, load_app, running
from wippy_lua.assembly import App
from wippy_lua.queue.settle import Failure, Success


def functions() -> Iterator[Function]:
    for module in module_names():
        yield from read_module(module).functions()
    yield from read_globals().functions.values()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    return load_app(Path(tmp_path_factory.mktemp("app")))


@pytest.mark.parametrize(
    ("owner", "example"),
    [pytest.param(each.owner, each.example, id=each.place) for each in functions()],
)
def test_an_example_runs(app: App, owner: str, example: str) -> None:
    program = handler(
        f"{MODULES}local function send_mail() end\nlocal function main()\n{example}\nend\n"
        "return {main = main, send_mail = send_mail}"
    )
    app.functions.add(program)  # for `queue.consume`, which looks for who calls it
    with running(app):
        vm = app.functions.load(program)
        outcome = handle_message(app, vm, with_actor=owner.startswith("security"))
    if example.startswith("return nil, "):  # what it shows is how to fail
        assert isinstance(outcome, Failure)
    else:
        assert isinstance(outcome, Success), outcome


def test_every_function_says_what_it_does_and_takes_and_has_an_example() -> None:
    lacking = [
        each.place
        for each in functions()
        if not (each.text and each.example)
        or (each.names is not None and each.names != tuple(p.name for p in each.parameters))
    ]
    assert lacking == []
