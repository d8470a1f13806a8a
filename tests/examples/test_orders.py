"""Orders through three queues, as the README of the example runs them."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.drivers.rabbitmq import RabbitMQ
from tests.examples.running import (
    COMMAND,
    EXAMPLES,
    Line,
    log_lines,
    logged_process,
    run_example,
    shell,
    wait_until,
    with_message,
)

pytestmark = pytest.mark.once  # its apps are processes of their own

SQLITE = "kind: queue.driver.sqlite"


def readme_steps() -> list[str]:
    """Returns the commands of the README by its numbered steps."""
    text = (EXAMPLES / "orders/README.md").read_text()
    return [
        "\n".join(re.findall(r"^ {7}(\S.*)$", step, re.MULTILINE))
        for step in re.split(r"^\d+\. ", text, flags=re.MULTILINE)[1:]
    ]


def copy_of_the_example(folder: Path) -> Path:
    """Returns the app's folder, where the README's commands find it from `folder`."""
    ignored = shutil.ignore_patterns("data")
    return Path(shutil.copytree(EXAMPLES / "orders", folder / "examples/orders", ignore=ignored))


def logged(output: str) -> list[Line]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def go_through_the_readme(folder: Path) -> None:
    fail, look, replay, report = readme_steps()

    failures = with_message(logged(shell(fail, folder)), "handler failed")
    assert {line["kind"] for line in failures} == {"Unavailable"}
    attempts = Counter(line["attempt"] for line in failures)
    assert attempts == {1: 7, 2: 7, 3: 7, 4: 7}  # the eighth order found too few cakes

    shown = shell(look, folder)
    assert shown.count("Unavailable") == 7

    lines = logged(shell(replay, folder))
    limited = with_message(lines, "handler failed")
    assert [line["kind"] for line in limited] == ["RateLimited"] * 2
    assert {line["retry_in"] for line in limited} == {0.3}
    assert sorted(line["order"] for line in with_message(lines, "order refused")) == [
        "order-3",
        "order-7",
    ]
    assert len(with_message(lines, "order shipped")) == 5

    (line,) = with_message(logged(shell(report, folder)), "orders")
    assert {key: line[key] for key in ("placed", "shipped", "refused", "sold_out")} == {
        "placed": 8,
        "shipped": 5,
        "refused": 2,
        "sold_out": 1,
    }
    assert line["dead_letters"] == 0
    # Two orders of one and two of two teas, those that were refused put back; one order of cakes.
    assert (line["tea_left"], line["cake_left"]) == (94, 1)


def test_orders_end_as_the_readme_says(tmp_path: Path) -> None:
    copy_of_the_example(tmp_path)
    go_through_the_readme(tmp_path)


@pytest.mark.network
def test_orders_end_the_same_on_rabbitmq_with_one_line_changed(
    tmp_path: Path, rabbitmq: RabbitMQ
) -> None:
    index = copy_of_the_example(tmp_path) / "_index.yaml"
    text = index.read_text()
    assert text.count(SQLITE) == 1
    # The broker of the tests is not at the usual address, which needs a line of its own.
    index.write_text(
        text.replace(SQLITE, f"kind: queue.driver.amqp\n    url: {json.dumps(rabbitmq.url)}")
    )
    go_through_the_readme(tmp_path)


def ended(lines: list[Line]) -> set[str]:
    """Returns the orders that a log says something final about."""
    states = ("order shipped", "order refused", "order sold out")
    return {line["order"] for state in states for line in with_message(lines, state)}


def test_killed_host_goes_on_where_it_was(tmp_path: Path) -> None:
    app, log = str(copy_of_the_example(tmp_path)), tmp_path / "log"
    # What the killed one held is free after a second instead of half a minute.
    lease = ("--set", "orders:broker.lease=1s", "--set", "orders:books.lease=1s")
    host = (*COMMAND, "run", app, "--log-format", "json", *lease, "--", "200")
    with logged_process(log, *host) as killed:
        wait_until(lambda: len(ended(log_lines(log))) > 20)
        killed.kill()
    before = ended(log_lines(log))
    after = ended(run_example(app, *lease, "--", "0", timeout=60))
    (report,) = with_message(run_example(f"{app}/report.lua"), "orders")
    # The last number may have been given to an order that was not placed any more.
    placed = {f"order-{number}" for number in range(1, report["placed"])}
    assert placed - before - after == set()
    assert len(placed - before) > 0, "killed too late to prove anything"
