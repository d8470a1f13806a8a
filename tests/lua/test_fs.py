"""The Lua module `fs`: what it reads, and that nothing outside its folder can be read."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.monkey import get_original

from tests.lua.running import host_of
from wippy_lua.errors import CallError, ConfigError, Kind, WippyError
from wippy_lua.host import Host
from wippy_lua.lua.modules import fs

ENTRIES = "- {name: data, kind: fs.directory, directory: data}\n"
REQUIRE = 'local fs = require("fs")\nlocal data = fs.get("app:data")\n'
LIST = """
local found = {}
for entry in data:readdir("%s") do found[#found + 1] = {entry.name, entry.type, entry.size} end
return found
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A folder `data` with something of everything, and a secret beside it."""
    data = tmp_path / "app" / "data"
    (data / "sub").mkdir(parents=True)
    (data / "hello.txt").write_bytes(b"hello\n")
    (data / "bytes.bin").write_bytes(bytes(range(256)))
    (data / "sub" / "deep.txt").write_bytes(b"deep")
    (data / "empty").write_bytes(b"")
    (tmp_path / "app" / "secret.txt").write_bytes(b"secret")
    (tmp_path / "app" / "data-beside").mkdir()
    (tmp_path / "app" / "data-beside" / "secret.txt").write_bytes(b"secret")
    return tmp_path / "app"


def make(app: Path, body: str) -> Host:
    main = f"{REQUIRE}return {{main = function() {body} end}}"
    return host_of(app, entries=ENTRIES, main=main)


def evaluate(app: Path, expression: str) -> object:
    return make(app, f"return {expression}").run_main()


def failure(app: Path, call: str) -> dict[str, object]:
    result = evaluate(app, f"problem({call})")
    assert isinstance(result, dict)
    assert "kind" in result, f"{call} succeeded: {result}"
    return result


def link(app: Path, name: str, target: str | Path) -> None:
    (app / "data" / name).symlink_to(target)


@pytest.mark.parametrize(
    "path",
    [
        "hello.txt",
        "/hello.txt",
        "./hello.txt",
        "//hello.txt",
        "sub/../hello.txt",
        "none/../hello.txt",
    ],
)
def test_every_path_starts_from_the_folder(app: Path, path: str) -> None:
    assert evaluate(app, f'data:readfile("{path}")') == "hello\n"


def test_a_file_is_read_with_every_byte(app: Path) -> None:
    assert evaluate(app, '{data:readfile("bytes.bin"), (data:readfile("empty"))}') == [
        bytes(range(256)),
        "",
    ]


def test_a_folder_is_listed_by_name(app: Path) -> None:
    assert make(app, LIST % "/").run_main() == [
        ["bytes.bin", "file", 256],
        ["empty", "file", 0],
        ["hello.txt", "file", 6],
        ["sub", "directory", (app / "data" / "sub").stat().st_size],
    ]
    assert make(app, LIST % "sub").run_main() == [["deep.txt", "file", 4]]


def test_an_empty_folder_lists_nothing(app: Path) -> None:
    (app / "data" / "nothing").mkdir()
    assert make(app, LIST % "nothing").run_main() == []


def test_a_name_that_is_not_text_can_be_listed_and_read(app: Path) -> None:
    for old in (app / "data").glob("*.*"):
        old.unlink()
    (app / "data" / os.fsdecode(b"\xff.txt")).write_bytes(b"odd")
    body = r'return {data:readdir("/")().name, (data:readfile("\xff.txt"))}'
    (app / "data" / "empty").unlink()
    (app / "data" / "sub" / "deep.txt").unlink()
    (app / "data" / "sub").rmdir()
    assert make(app, body).run_main() == [b"\xff.txt", "odd"]


def test_stat_tells_what_there_is(app: Path) -> None:
    os.utime(app / "data" / "hello.txt", (1_700_000_000.9, 1_700_000_000.9))
    assert evaluate(app, 'data:stat("hello.txt")') == {
        "name": "hello.txt",
        "type": "file",
        "size": 6,
        "modified": 1_700_000_000,
        "is_dir": False,
    }
    for path, name in (("sub", "sub"), ("/", "/"), (".", "/")):
        status = evaluate(app, f'data:stat("{path}")')
        assert isinstance(status, dict)
        assert (status["name"], status["type"], status["is_dir"]) == (name, "directory", True)


@pytest.mark.parametrize("method", ["readfile", "readdir", "stat"])
class TestConfinement:
    @pytest.mark.parametrize(
        "path",
        [
            "..",
            "../secret.txt",
            "/../secret.txt",
            "sub/../../secret.txt",
            "../data-beside/secret.txt",
            "../data/hello.txt",
        ],
    )
    def test_no_dots_lead_out(self, app: Path, method: str, path: str) -> None:
        assert failure(app, f'data:{method}("{path}")')["kind"] == Kind.PERMISSION_DENIED

    @pytest.mark.parametrize("absolute", [True, False])
    @pytest.mark.parametrize("target", ["secret.txt", "data-beside", "", "gone.txt"])
    def test_no_link_leads_out(self, app: Path, method: str, target: str, absolute: bool) -> None:
        link(app, "out", app / target if absolute else Path("..") / target)
        assert failure(app, f'data:{method}("out")')["kind"] == Kind.PERMISSION_DENIED

    def test_no_path_through_a_link_leads_out(self, app: Path, method: str) -> None:
        link(app, "out", "../data-beside")
        link(app, "again", "out")
        for path in ("out/secret.txt", "again/secret.txt"):
            assert failure(app, f'data:{method}("{path}")')["kind"] == Kind.PERMISSION_DENIED

    @pytest.mark.parametrize("path", ['""', '"a\\0b"', '"../\\0"', "nil", "7", "{}"])
    def test_what_is_no_path_is_invalid(self, app: Path, method: str, path: str) -> None:
        assert failure(app, f"data:{method}({path})")["kind"] == Kind.INVALID

    @pytest.mark.parametrize("path", ["none", "none/deeper", "sub/none.txt"])
    def test_what_is_not_there_is_not_found(self, app: Path, method: str, path: str) -> None:
        result = failure(app, f'data:{method}("{path}")')
        assert (result["kind"], result["retryable"]) == (Kind.NOT_FOUND, False)

    def test_a_path_below_a_file_is_invalid(self, app: Path, method: str) -> None:
        assert failure(app, f'data:{method}("hello.txt/x")')["kind"] == Kind.INVALID

    def test_a_path_that_is_too_long_is_invalid(self, app: Path, method: str) -> None:
        for path in ('("n"):rep(5000)', '("n/"):rep(5000)', '("../"):rep(5000)'):
            result = failure(app, f"data:{method}({path})")
            assert result["kind"] in (Kind.INVALID, Kind.PERMISSION_DENIED, Kind.NOT_FOUND)
            assert len(str(result["message"])) < 400


def test_links_inside_the_folder_are_followed(app: Path) -> None:
    link(app, "file", "sub/deep.txt")
    link(app, "folder", app / "data" / "sub")
    assert evaluate(app, '{data:readfile("file"), (data:readfile("folder/deep.txt"))}') == [
        "deep",
        "deep",
    ]
    listed = make(app, LIST % "/").run_main()
    assert isinstance(listed, list)
    assert ["file", "file", 4] in listed
    assert [name for name, kind, _ in listed if kind == "directory"] == ["folder", "sub"]
    assert make(app, LIST % "folder").run_main() == [["deep.txt", "file", 4]]


def test_a_listing_tells_nothing_of_what_links_outside(app: Path) -> None:
    link(app, "out", "../secret.txt")
    link(app, "gone", "nothing")
    link(app, "loop", "loop")
    listed = make(app, LIST % "/").run_main()
    assert isinstance(listed, list)
    assert [name for name, kind, _ in listed if kind == "other"] == ["gone", "loop", "out"]
    assert ["out", "other", 0] in listed


def test_a_folder_given_through_a_link_is_read(app: Path) -> None:
    (app / "data").rename(app / "real")
    (app / "data").symlink_to("real")
    assert evaluate(app, 'data:readfile("hello.txt")') == "hello\n"


def test_a_link_that_appears_after_the_check_is_refused(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fs.Folder(app / "data")
    monkeypatch.setattr(
        folder, "_resolve", lambda path: (os.fsencode(app / "data"), path.split(b"/"))
    )
    link(app, "late", "../data-beside")
    link(app, "late.txt", "../secret.txt")
    for path in (b"late/secret.txt", b"late.txt"):
        with pytest.raises(WippyError):
            folder.readfile(path)
    with pytest.raises(WippyError):
        folder.readdir(b"late")


def test_a_folder_is_no_file_and_a_file_no_folder(app: Path) -> None:
    assert "is a directory" in str(failure(app, 'data:readfile("sub")')["message"])
    assert failure(app, 'data:readfile("/")')["kind"] == Kind.INVALID
    assert failure(app, 'data:readdir("hello.txt")')["kind"] == Kind.INVALID


def test_what_would_hang_or_act_is_refused(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(app / "data" / "fifo")
    monkeypatch.chdir(app / "data")  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for name in ("fifo", "socket"):
            with gevent.Timeout(5):
                assert failure(app, f'data:readfile("{name}")')["kind"] == Kind.INVALID
                assert evaluate(app, f'data:stat("{name}").type') == "other"


def test_a_device_is_refused_before_it_is_opened() -> None:
    with pytest.raises(WippyError, match="no regular file"):
        fs.Folder(Path("/dev")).readfile(b"zero")


def test_a_fifo_that_appears_after_the_check_does_not_hang(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(app / "data" / "fifo")
    regular = (app / "data" / "hello.txt").stat()
    monkeypatch.setattr(os, "stat", lambda *_args, **_options: regular)
    with pytest.raises(WippyError, match="no regular file"):
        fs.Folder(app / "data").readfile(b"fifo")


def test_a_file_that_is_too_large_is_invalid_and_the_limit_is_named(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (app / "data" / "large").open("wb") as file:
        file.truncate(16 * 1024 * 1024)
    assert evaluate(app, '#data:readfile("large")') == 16 * 1024 * 1024
    with (app / "data" / "large").open("ab") as file:
        file.write(b".")
    result = failure(app, 'data:readfile("large")')
    assert (result["kind"], "16 MiB" in str(result["message"])) == (Kind.INVALID, True)
    # As one that grows between the look and the reading.
    monkeypatch.setattr(fs, "_check_readable", lambda _status, _path: None)
    assert "16 MiB" in str(failure(app, 'data:readfile("large")')["message"])


def test_a_file_larger_than_the_vm_fails_the_call_alone(app: Path) -> None:
    with (app / "data" / "large").open("wb") as file:
        file.truncate(8 * 1024 * 1024)
    (app / "read.lua").write_text(
        'local data = require("fs").get("app:data")\n'
        "return function(path) return #(data:readfile(path) .. '.') end"
    )
    entry = "name: read, kind: function.lua, modules: [fs], source: file://read.lua"
    host = host_of(app, entries=f"{ENTRIES}- {{{entry}, limits: {{memory: 4MiB}}}}\n")
    with host:
        with pytest.raises(CallError, match="memory limit"):
            host.call("app:read", "large")
        assert host.call("app:read", "hello.txt") == 7


def test_a_folder_with_too_many_entries_is_invalid(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fs, "MAX_ENTRIES", 3)
    assert "over 3 entries" in str(failure(app, 'data:readdir("/")')["message"])


def test_what_the_system_forbids_is_denied(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not by the file's mode: tests may run as the superuser, who may read everything.
    really_open = os.open

    def guarded(path: str | bytes, *args: Any, **options: Any) -> int:
        if os.fsdecode(path) == "hello.txt":
            raise PermissionError(errno.EACCES, "Permission denied")
        return really_open(path, *args, **options)

    monkeypatch.setattr(os, "open", guarded)
    assert failure(app, 'data:readfile("hello.txt")')["kind"] == Kind.PERMISSION_DENIED


def test_a_slow_disk_holds_up_only_the_call_that_waits_for_it(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_disk = get_original("_thread", "allocate_lock")()
    slow_disk.acquire()
    read = fs.Folder.readfile

    def slow(self: fs.Folder, path: bytes) -> bytes:
        assert slow_disk.acquire(timeout=5)
        return read(self, path)

    monkeypatch.setattr(fs.Folder, "readfile", slow)
    host = make(app, 'return data:readfile("hello.txt")')
    reader = gevent.spawn(host.run_main)
    for _ in range(50):
        gevent.sleep(0)
    assert not reader.ready()
    slow_disk.release()
    assert reader.get(timeout=5) == "hello\n"


def test_nothing_is_printed_for_an_error_that_lua_gets(
    app: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    failure(app, 'data:readfile("none")')
    assert capfd.readouterr() == ("", "")


def test_no_descriptor_stays_open(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link(app, "out", "../secret.txt")
    link(app, "gone", "sub/none/deeper")
    opened: list[int] = []
    closed: list[int] = []
    real_open, real_close = os.open, os.close

    def open_and_note(*args: Any, **options: Any) -> int:
        opened.append(real_open(*args, **options))
        return opened[-1]

    def close_and_note(descriptor: int) -> None:
        closed.append(descriptor)
        real_close(descriptor)

    monkeypatch.setattr(os, "open", open_and_note)
    monkeypatch.setattr(os, "close", close_and_note)
    folder = fs.Folder(app / "data")
    for path in (
        "hello.txt",
        "sub",
        "none",
        "sub/none/x",
        "hello.txt/x",
        "../x",
        "out",
        "gone",
        "/",
    ):
        for method in (folder.readfile, folder.readdir, folder.stat):
            with suppress(WippyError):
                method(path.encode())
    assert opened
    assert sorted(opened) == sorted(closed)


def test_an_unknown_directory_is_not_found(app: Path) -> None:
    assert failure(app, 'fs.get("app:date")') == {
        "kind": Kind.NOT_FOUND,
        "message": "directory 'app:date' not found",
        "retryable": False,
        "details": {"directory": "app:date"},
    }
    for call in ('fs.get("")', "fs.get(nil)", "fs.get({})"):
        assert failure(app, call)["kind"] == Kind.INVALID


def test_a_method_called_with_a_dot_is_an_error_of_the_script(app: Path) -> None:
    with pytest.raises(CallError, match=r"main\.lua:\d+: not a directory"):
        evaluate(app, '{data.readfile("hello.txt")}')


def test_an_entry_whose_folder_is_missing_is_a_problem_of_the_registry(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    entries = "".join(
        f"- {{name: {name}, kind: fs.directory, directory: {name}}}\n" for name in ("gone", "file")
    )
    with pytest.raises(ConfigError) as caught:
        host_of(tmp_path, entries=entries)
    index = tmp_path / "_index.yaml"
    assert [str(problem) for problem in caught.value.problems] == [
        f"{index}:4:3: app:gone: directory 'gone' is not a folder",
        f"{index}:5:3: app:file: directory 'file' is not a folder",
    ]


def test_a_directory_is_relative_to_its_yaml_file(tmp_path: Path) -> None:
    (tmp_path / "nested" / "data").mkdir(parents=True)
    (tmp_path / "nested" / "data" / "x").write_text("x")
    (tmp_path / "nested" / "_index.yaml").write_text(
        f'version: "1.0"\nnamespace: app\nentries:\n{ENTRIES}'
    )
    main = f'{REQUIRE}return {{main = function() return data:readfile("x") end}}'
    assert host_of(tmp_path, main=main).run_main() == "x"
