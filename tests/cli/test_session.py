from pathlib import Path

import gevent
import pytest

from tests.cli.command import QUEUE, app
from wippy_lua import Host
from wippy_lua.cli.report import Notes
from wippy_lua.cli.session import Session
from wippy_lua.errors import CallError, Kind, StopTimeout


def run(folder: Path) -> int:
    return Session(Host(folder), Notes("console")).run([], [], drain=False)


@pytest.mark.parametrize(
    ("result", "status"),
    [
        ("", 0),
        ("return nil", 0),
        ("return true", 0),
        ("return 'text'", 0),
        ("return 0", 0),
        ("return 7", 7),
        ("return 255", 255),
        ("return 256", 1),
        ("return -1", 1),
        ("return 1/0", 1),
        ("return 0/0", 1),
        ("return 6 / 2", 3),
        ("return false", 1),
        ("return nil, 'no luck'", 1),
        ("error('no luck')", 1),
        ("return {main = function() return 5 end}", 5),
        ("return {main = function() return nil, errors.new('no luck') end}", 1),
        ("return {}", 0),
    ],
)
def test_the_result_of_main_is_the_exit_status(tmp_path: Path, result: str, status: int) -> None:
    assert run(app(tmp_path, main=result)) == status


def test_a_status_that_no_shell_knows_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(app(tmp_path, main="return 256"))

    assert capfd.readouterr().err == (
        "error: main.lua returned 256, which is no exit status (0 to 255)\n"
    )


def test_stop_interrupts_a_main_that_computes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wippy_lua.assembly.MAIN_STOP_TIMEOUT", 0.1)
    host = Host(app(tmp_path, main="while true do end"))
    host.start()
    main = gevent.spawn(host.run_main)
    gevent.sleep(0)

    with pytest.raises(ExceptionGroup) as caught:
        host.stop()

    (error,) = caught.value.exceptions
    assert isinstance(error, StopTimeout)
    assert str(error) == "main.lua did not stop within 0.1s: interrupted main.lua"
    with pytest.raises(CallError) as ended:
        main.get()
    assert ended.value.kind is Kind.CANCELED


def test_stop_during_a_start_cancels_it(tmp_path: Path) -> None:
    host = Host(app(tmp_path, QUEUE, handler="return print"))
    stopping = gevent.spawn(host.stop)

    with pytest.raises(Exception, match="start"):
        host.start()

    stopping.get()
    assert not any(state.active for state in host.services().values())
