"""Hosts that are killed while messages flow lose nothing and repeat little, on every driver."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.failures.crash import Plan, run
from tests.failures.places import Broker, Folder

IS_LONG = os.environ.get("WIPPY_LUA_LONG") == "1"
MESSAGES, KILLS, TIMEOUT = (50_000, 20, 900) if IS_LONG else (2_000, 4, 120)


def a_seed() -> int:
    """Returns the seed of the run that is to be repeated, else a new one."""
    return int(os.environ.get("WIPPY_LUA_SEED") or random.randrange(1_000_000))


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
        f" {verdict.lost} lost, {verdict.duplicates} duplicates,"
        f" {verdict.charged} attempts charged, bound {verdict.bound}: {verdict.word}"
    )
    assert not verdict.problems
