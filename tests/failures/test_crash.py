"""Hosts that are killed while messages flow lose nothing and repeat little, on every driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.failures.crash import IS_LONG, Plan, a_seed, run
from tests.failures.places import Broker, Folder

MESSAGES, KILLS, TIMEOUT = (50_000, 20, 900) if IS_LONG else (2_000, 4, 120)


@pytest.mark.failures
@pytest.mark.timeout(TIMEOUT)
def test_a_host_that_is_killed_again_and_again_loses_nothing(
    broker: Broker, folder: Folder, own: Path, figures: list[str]
) -> None:
    plan = Plan(MESSAGES, KILLS, a_seed())
    print("seed", plan.seed)  # noqa: T201 - shown when the test fails, by an error in it too
    verdict = run(broker, folder, own, plan)
    figures.append(
        f"{broker.name:7} {plan.messages} messages, {plan.kills} kills (seed {plan.seed}):"
        f" {verdict.figures}: {verdict.word}"
    )
    assert not verdict.problems
