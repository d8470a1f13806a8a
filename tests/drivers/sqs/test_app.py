"""A whole app on SQS: the one of the examples, moved by its driver's entry alone."""

from __future__ import annotations

import pytest

from tests.drivers.sqs.declaring import REGION
from tests.drivers.sqs.server import Server
from tests.examples.running import run_example, with_message

pytestmark = pytest.mark.network

DRIVER = "app.queue:memory_driver"


def test_the_tasks_example_runs_without_a_change(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    fields = {"kind": "queue.driver.sqs", "endpoint": server.endpoint, "region": REGION}
    overrides = [f"--set={DRIVER}.{name}={value}" for name, value in fields.items()]
    lines = run_example("tasks", *overrides, f"--set={DRIVER}.wait_time=1s")
    (line,) = with_message(lines, "Processing")
    assert (line["task_id"], line["attempt"]) == ("task-123", 1)
