"""An app moves to another driver by its driver's entry alone."""

from __future__ import annotations

from tests.examples.running import run_example, with_message
from tests.failures.places import Broker


def test_the_tasks_example_runs_on_every_driver_without_a_change(broker: Broker) -> None:
    lines = run_example("tasks", *broker.overrides("app.queue:memory_driver"))
    (line,) = with_message(lines, "Processing")
    assert (line["task_id"], line["attempt"]) == ("task-123", 1)
    assert with_message(lines, "messages left in queue") == []
