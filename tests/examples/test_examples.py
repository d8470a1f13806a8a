"""Every example does what its README says."""

from __future__ import annotations

import json
import signal

import pytest

from tests.examples.running import (
    COMMAND,
    EXAMPLES,
    Line,
    process,
    run_command,
    run_example,
    with_message,
)
from tests.examples.specification import ENTRIES, HANDLER, PUBLISHER

pytestmark = pytest.mark.once  # its apps are processes of their own


@pytest.mark.parametrize("name", sorted(each.name for each in EXAMPLES.iterdir() if each.is_dir()))
def test_example_has_a_readme_with_its_command(name: str) -> None:
    assert f"examples/{name}" in (EXAMPLES / name / "README.md").read_text()


@pytest.mark.parametrize(
    ("app", "options"),
    [
        ("hello", []),
        ("tasks", []),
        ("retry_and_dead_letter", []),
        ("wordcount", []),
        ("orders", []),
        ("webhooks", []),
        ("embed_pywsgi", ["--module", "stats"]),
        ("flask_gunicorn", ["--module", "mail"]),
        ("two_hosts", []),
    ],
)
def test_check_finds_no_errors_in_an_example(app: str, options: list[str]) -> None:
    ended = run_command("check", app, *options, env={"WORDCOUNT_DIR": str(EXAMPLES)})
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_hello_greets_the_world_from_one_file() -> None:
    (line,) = with_message(run_example("hello"), "hello")
    assert line["name"] == "world"
    assert line["attempt"] == 1


def test_tasks_has_the_entries_of_the_specification() -> None:
    text = (EXAMPLES / "tasks/_index.yaml").read_text()
    assert [entry for entry in ENTRIES if entry not in text] == []


def test_tasks_ends_with_the_handler_and_the_publisher_of_the_specification() -> None:
    assert (EXAMPLES / "tasks/task_handler.lua").read_text().endswith(f"\n{HANDLER}")
    assert (EXAMPLES / "tasks/main.lua").read_text().endswith(f"\n{PUBLISHER}")


def test_tasks_handles_its_task_once_and_drains() -> None:
    lines = run_example("tasks")
    (line,) = with_message(lines, "Processing")
    assert (line["task_id"], line["attempt"]) == ("task-123", 1)
    assert with_message(lines, "handler failed") == []


def test_the_tests_of_tasks_pass() -> None:
    ended = run_command("test", "tasks")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1].startswith("3 passed in ")


def test_tasks_serves_until_sigterm() -> None:
    with process(*COMMAND, "run", "tasks", "--log-format", "json") as serving:
        assert serving.stderr is not None
        for text in serving.stderr:
            if json.loads(text)["msg"] == "Processing":
                break
        assert serving.poll() is None
        serving.send_signal(signal.SIGTERM)
        _, rest = serving.communicate(timeout=10)
    assert serving.returncode == 0, rest
    assert with_message([json.loads(text) for text in rest.splitlines()], "consumer stopped")


#: What the dead letter of each case says: reason, attempts, kind and end of the error, if any.
DEAD_LETTERS = {
    "raises": ("max_attempts", 3, "", "the printer is on fire"),
    "not_retryable": ("not_retryable", 1, "NotFound", "no such printer"),
    "nacked": ("max_attempts", 3, None, None),
    "rejected": ("rejected", 1, "Invalid", "nothing to print"),
    "misspelt": ("not_retryable", 1, "Invalid", "unknown case 'misspelt'"),
}


@pytest.fixture(scope="module")
def failing_jobs() -> list[Line]:
    return run_example("retry_and_dead_letter")


def test_each_failing_job_ends_as_its_readme_says(failing_jobs: list[Line]) -> None:
    done = with_message(failing_jobs, "job done")
    assert {line["case"]: line["attempt"] for line in done} == {
        "retry_after": 2,
        "third_attempt": 3,
    }
    assert len(done) == 2

    dead_letters = with_message(failing_jobs, "job failed for good")
    failed = {line["case"]: line for line in dead_letters}
    assert failed.keys() == DEAD_LETTERS.keys()
    for case, (reason, attempts, kind, error) in DEAD_LETTERS.items():
        line = failed[case]
        assert (line["reason"], line["attempts"], line["from"]) == (reason, attempts, "app:jobs")
        assert line.get("error_kind") == kind
        assert line.get("error", "").endswith(error or "")
    assert len(dead_letters) == len(DEAD_LETTERS)


def test_an_error_that_says_when_to_retry_beats_the_backoff(failing_jobs: list[Line]) -> None:
    failures = with_message(failing_jobs, "handler failed")
    delays = {line["error"]: line["retry_in"] for line in failures if line["attempt"] == 1}
    assert delays["the printer is warming up"] == 0.05
    assert delays["out of paper"] == pytest.approx(0.02, rel=0.11)
