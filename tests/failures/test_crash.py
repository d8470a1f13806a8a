"""Hosts that are killed while messages flow lose nothing and repeat little, on every driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.failures.crash import IS_LONG, Plan, a_seed, run
from tests.failures.figures import Figures
from tests.failures.places import Broker, Folder

MESSAGES, KILLS, TIMEOUT = (100_000, 20, 900) if IS_LONG else (10_000, 10, 120)


@pytest.mark.failures
@pytest.mark.timeout(TIMEOUT)
def test_a_host_that_is_killed_again_and_again_loses_nothing(
    broker: Broker, folder: Folder, own: Path, figures: Figures
) -> None:
    plan = Plan(MESSAGES, KILLS, a_seed())
    print("seed", plan.seed)  # noqa: T201 - shown when the test fails, by an error in it too
    verdict = run(broker, folder, own, plan)
    seed = f"seed {plan.seed}"
    figures.add("host killed", broker.name, plan.messages, plan.kills, verdict, [seed])
    assert not verdict.problems
