"""Every example in the annotations of the standard modules runs as it is printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.annotations import module_names, read_globals, read_module
from tests.lua.whole_app import MODULES, handle_message, handler, load_app, running
from wippy_lua.assembly import App
from wippy_lua.queue.settle import Failure, Success

#: What the examples of a module take as given.
GIVEN = {
    "errors": "local err = errors.new({message = 'gone', kind = errors.NOT_FOUND})\n"
    "local msg = queue.message()",
    "fs": "local templates = fs.get('app:templates')",
    "queue": "local msg = queue.message()",
    "security": "local actor, policy = security.actor(), security.policy('app:publish_orders')\n"
    "local scope = security.new_scope({policy})",
    "store": "local seen, msg = store.get('app:seen'), queue.message()",
}


def examples() -> Iterator[tuple[str, str, str]]:
    for module in module_names():
        for function in read_module(module).functions():
            yield module, function.place, function.example
    for function in read_globals().functions.values():
        yield "", function.place, function.example


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    return load_app(Path(tmp_path_factory.mktemp("app")))


@pytest.mark.parametrize(
    ("module", "example"),
    [pytest.param(module, code, id=place) for module, place, code in examples()],
)
def test_an_example_runs(app: App, module: str, example: str) -> None:
    program = handler(
        f"{MODULES}local function send_mail() end\nlocal function main()\n{GIVEN.get(module, '')}\n"
        f"{example}\nend\nreturn {{main = main, send_mail = send_mail}}"
    )
    app.functions.add(program)  # for `queue.consume`, which looks for who calls it
    with running(app):
        vm = app.functions.load(program)
        outcome = handle_message(app, vm, with_actor=module == "security")
    if example.startswith("return nil, "):  # what it shows is how to fail
        assert isinstance(outcome, Failure)
    else:
        assert isinstance(outcome, Success), outcome


def test_every_function_has_an_example() -> None:
    assert [place for _, place, example in examples() if not example] == []
