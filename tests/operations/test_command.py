"""Every verb of the command line on every driver: memory through a running host, the others also
without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.host.apps import wait_for
from tests.operations.commands import Commands, on_brokers, running, through_host
from tests.operations.sites import Repair, Site, letters, repairing

PATIENCE = 20.0
HANDLER = """\
local files = require("fs").get("app:files")
return function(body)
  if not files:readfile("mended") then
    return nil, errors.new({message = "no luck", kind = errors.INVALID, retryable = false})
  end
end
"""
FILES = '- {"name": "files", "kind": "fs.directory", "directory": "."}\n'


@pytest.fixture
def app(site: Site, tmp_path: Path) -> Path:
    """An app whose handler fails until a file `mended` is there."""
    app = site.write(tmp_path / "app", worker=True)
    index = app / "_index.yaml"
    index.write_text(index.read_text().replace('["logger"]', '["fs"]') + FILES)
    (app / "handler.lua").write_text(HANDLER)
    return app


@pytest.fixture
def commands(site: Site, app: Path) -> Iterator[Commands]:
    if site.name == "memory":
        with through_host(app) as commands:
            yield commands
    else:
        yield on_brokers(app)


@pytest.fixture
def work(site: Site, app: Path) -> Callable[[], None]:
    """Lets the worker do all that there is."""

    def run_host() -> None:
        with running(app, "--drain") as host:
            assert host.finish() == 0, host.output

    return (lambda: None) if site.name == "memory" else run_host


def counts(commands: Commands, queue: str) -> tuple[int, int]:
    status = commands.json("queue", "info", queue)
    return status["ready"], status["depth"]


def test_a_dead_letter_is_seen_replayed_and_handled(
    app: Path, commands: Commands, work: Callable[[], None]
) -> None:
    ids = [
        commands.json("queue", "publish", "app:tasks", '{"n": 1}', "--header", "priority=5")["id"],
        commands.run("publish", "app:tasks", '{"n": 2}', "--id", "second").out.strip(),
        commands.run("publish", "app:tasks", "-", given='{"n": 3}').out.strip(),
    ]
    assert ids[1] == "second"
    work()
    wait_for(lambda: counts(commands, "app:dead") == (3, 3), PATIENCE)

    [holder] = commands.json("dlq", "ls")
    assert (holder["queue"]["id"], holder["queue"]["depth"]) == ("app:dead", 3)
    assert holder["sources"] == ["app:other", "app:tasks"]
    assert "app:other, app:tasks" in commands.run("dlq", "ls").out
    listed = commands.run("dlq", "ls", "app:tasks")
    assert [each in listed.out for each in (*ids, "no luck", "not_retryable")] == [True] * 5

    [letter] = commands.json("dlq", "show", "app:dead", ids[0])
    assert (letter["body"], letter["encoding"], letter["headers"]["priority"]) == (
        {"n": 1},
        "json",
        5,
    )
    death = letter["death"]
    assert (death["original_queue"], death["attempts"], death["error"]) == (
        "app:tasks",
        1,
        "no luck",
    )
    assert "handler.lua" in death["stack"]
    text = commands.run("dlq", "show", "app:dead", ids[0]).out
    assert "error: no luck\n" in text
    assert "header priority: 5\n" in text

    dry = commands.json("dlq", "replay", "app:tasks", "--dry-run")
    assert (dry["done"], dry["finished"]) == (3, True)
    kept = ("dlq", "drop", "app:tasks", "second")
    assert commands.run(*kept).status == 2
    dropped = commands.run(*kept, "--yes")
    assert (dropped.status, dropped.out.split(";")[0].strip()) == (
        0,
        "dropped 1 dead letter of app:tasks",
    )
    (app / "mended").touch()
    matched = commands.run(
        "dlq", "replay", "app:dead", "--match", "x_error_kind=Invalid", "--match", "priority=5"
    )
    assert (matched.status, matched.out.strip()) == (
        0,
        "replayed 1 dead letter of app:dead; 1 did not match",
    )
    rest = commands.run("dlq", "replay", "app:tasks", "--limit", "10", "--rate", "100")
    assert (rest.status, rest.out.strip()) == (0, "replayed 1 dead letter of app:tasks")
    work()
    wait_for(lambda: counts(commands, "app:tasks") == (0, 0), PATIENCE)
    assert counts(commands, "app:dead") == (0, 0)
    nothing = commands.run("dlq", "replay", "app:tasks")
    assert (nothing.status, nothing.out.strip()) == (1, "replayed 0 dead letters of app:tasks")
    assert commands.run("dlq", "show", "app:tasks").status == 1
    assert commands.json("dlq", "ls", "app:tasks", status=1) == []


def test_queues_are_seen_peeked_at_and_purged(site: Site, commands: Commands) -> None:
    for number in range(3):
        assert commands.run("publish", "app:other", f"text {number}").status == 0
    wait_for(lambda: counts(commands, "app:other") == (3, 3), PATIENCE)
    listed = commands.json("queue", "ls")
    assert [each["id"] for each in listed] == ["app:dead", "app:other", "app:tasks"]
    table = commands.run("queue", "ls").out.splitlines()
    assert table[0].split()[:4] == ["queue", "driver", "depth", "ready"]
    about = "" if site.can_look else "~"
    assert table[2].split()[:4] == ["app:other", site.name, f"{about}3", "3"]
    peeked = commands.run("queue", "peek", "app:other", "--limit", "2")
    if site.can_look:
        assert peeked.status == 0
        assert ["text 0" in peeked.out, "text 1" in peeked.out, "text 2" in peeked.out] == [
            True,
            True,
            False,
        ]
    else:
        assert (peeked.status, "cannot show" in peeked.err) == (2, True)
    assert commands.run("queue", "purge", "app:other").status == 2
    assert counts(commands, "app:other")[0] == 3
    assert commands.json("queue", "purge", "app:other", "--yes") == {"removed": 3}
    wait_for(lambda: counts(commands, "app:other") == (0, 0), PATIENCE)


def test_a_delayed_message_counts_as_such(commands: Commands) -> None:
    assert commands.run("publish", "app:other", '{"n": 1}', "--delay", "1h").status == 0
    wait_for(lambda: commands.json("queue", "info", "app:other")["delayed"] == 1, PATIENCE)


def test_pausing_is_for_a_running_host(site: Site, app: Path, commands: Commands) -> None:
    (app / "mended").touch()
    if site.name != "memory":
        for verb in ("pause", "resume"):
            refused = commands.run("queue", verb, "app:tasks")
            assert (refused.status, "--admin" in refused.err) == (2, True)
        return
    assert commands.json("queue", "pause", "app:tasks") == {"id": "app:tasks", "paused": True}
    assert "paused" in commands.run("queue", "ls").out.splitlines()[3]
    assert commands.run("publish", "app:tasks", '{"n": 1}').status == 0
    assert counts(commands, "app:tasks") == (1, 1)
    resumed = commands.run("queue", "resume", "app:tasks")
    assert (resumed.status, resumed.out) == (0, "app:tasks is not paused\n")
    wait_for(lambda: counts(commands, "app:tasks") == (0, 0), PATIENCE)


@pytest.mark.parametrize("words", [("queue", "ls"), ("dlq", "ls")])
def test_a_queue_in_memory_is_told_where_it_is(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = on_brokers(Site("memory").write(tmp_path / "app")).run(*words)
    assert (done.status, "run --admin 127.0.0.1:9464" in done.out) == (1, True)


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("queue", "info", "app:taks"), 1, "did you mean 'app:tasks'?"),
        (("queue", "info"), 2, "Missing argument"),
        (("queue", "peek", "app:tasks", "--limit", "0"), 2, "--limit"),
        (("queue", "peek", "app:tasks", "--limit", "1001"), 2, "from 1 to 1000"),
        (("queue", "peek", "app:tasks"), 1, "nothing is ready in app:tasks"),
        (("queue", "publish", "app:tasks", "null"), 2, "data is missing"),
        (("queue", "publish", "app:tasks", "{}"), 2, "data is empty"),
        (("queue", "publish", "app:tasks", "@nowhere"), 2, "cannot read nowhere"),
        (("publish", "app:tasks", "x", "--header", "flag"), 2, "NAME=VALUE"),
        (("publish", "app:tasks", "x", "--header", "x_a=1"), 2, "reserved"),
        (("publish", "app:tasks", "x", "--delay", "soon"), 2, "duration"),
        (("dlq", "replay", "app:tasks", "--match", "oops"), 2, "NAME=VALUE"),
        (("dlq", "replay", "app:tasks", "--rate", "0"), 2, "rate must be more than 0"),
        (("dlq", "replay", "app:tasks", "--rate", "nan"), 2, "rate must be more than 0"),
        (("dlq", "drop", "app:tasks"), 2, "say --yes"),
        (("dlq", "show", "app:dead", "nobody"), 1, "no dead letter found"),
        (("queue", "ls", "--admin", "http://"), 2, "--admin"),
        (("queue", "ls", "--admin", "127.0.0.1:1"), 1, "127.0.0.1:1"),
    ],
)
def test_misuse_and_nothing_found_say_so(
    tmp_path: Path, words: tuple[str, ...], status: int, text: str
) -> None:
    site = Site("sqlite", {"file": str(tmp_path / "queue.db")})
    done = on_brokers(site.write(tmp_path / "app")).run(*words)
    assert (done.status, text in done.err) == (status, True), done


def test_an_app_that_is_wrong_is_reported_as_everywhere(tmp_path: Path) -> None:
    (tmp_path / "_index.yaml").write_text("version: '1.0'\nnamespace: app\nentries:\n- {kind: x}\n")
    done = on_brokers(tmp_path).run("queue", "ls")
    assert (done.status, "_index.yaml:4:3" in done.err) == (2, True)


def test_an_app_without_queues_says_who_knows_them(tmp_path: Path) -> None:
    (tmp_path / "main.lua").write_text("")
    commands = on_brokers(tmp_path)
    assert commands.run("queue", "ls").status == 1
    assert "--admin" in commands.run("queue", "info", "app:tasks").err


def test_overrides_choose_another_place(tmp_path: Path) -> None:
    site = Site("sqlite", {"file": str(tmp_path / "queue.db")})
    commands = on_brokers(site.write(tmp_path / "app"))
    assert commands.run("publish", "app:tasks", "x").status == 0
    other = f"app:broker.file={tmp_path / 'other.db'}"
    assert commands.json("queue", "info", "app:tasks", "--set", other)["ready"] == 0
    assert commands.json("queue", "info", "app:tasks")["ready"] == 1


@pytest.mark.parametrize(
    ("data", "words", "body", "encoding"),
    [
        (b'{"a": [1, 2]}', (), {"a": [1, 2]}, "json"),
        (b"42", (), 42, "json"),
        (b"42", ("--text",), "42", "text"),
        (b"plain text", (), "plain text", "text"),
        (b"\xff\x00", (), "/wA=", "base64"),
    ],
)
def test_what_is_published_is_what_was_given(
    tmp_path: Path, data: bytes, words: tuple[str, ...], body: Any, encoding: str
) -> None:
    site = Site("sqlite", {"file": str(tmp_path / "queue.db")})
    commands = on_brokers(site.write(tmp_path / "app"))
    (tmp_path / "data").write_bytes(data)
    headers = ("--header", "n=1", "--header", "t=true", "--header", "s=x y", "--header", 'q="1"')
    assert commands.run("publish", "app:tasks", f"@{tmp_path / 'data'}", *words, *headers).out
    assert commands.run("publish", "app:tasks", "-", *words, given=data).status == 0
    first, second = commands.json("queue", "peek", "app:tasks")
    assert (first["body"], first["encoding"], second["body"]) == (body, encoding, body)
    assert first["headers"] == {"n": 1, "t": True, "s": "x y", "q": "1"}


def test_a_replay_that_leaves_letters_fails_and_says_why(tmp_path: Path) -> None:
    site = Site("sqlite", {"file": str(tmp_path / "queue.db")})
    app = site.write(tmp_path / "app")
    with repairing(app) as repair:
        _bury_some(repair)
    done = on_brokers(app).run("dlq", "replay", "app:dead")
    assert (done.status, done.out.strip()) == (
        1,
        "replayed 3 dead letters of app:dead; 2 left: app:gone is no queue of the app",
    )


def _bury_some(repair: Repair) -> None:
    repair.bury(*letters(3), *letters(2, "app:gone"))
