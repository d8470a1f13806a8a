"""Plays random lives of a driver, and counts them for the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.failures.crash import IS_LONG
from tests.failures.figures import Figures, Row, word


@dataclass
class Played:
    """What was done in all lives so far."""

    lives: int = 0
    messages: int = 0
    crashes: int = 0


def play(
    machine: Callable[[Played], RuleBasedStateMachine],
    driver: str,
    figures: Figures,
    *,
    lives: int,
    steps: int,
) -> None:
    """Tries some lives, each another sequence of steps; the short form's are always the same."""
    played = Played()
    failures = 1
    chosen = settings(
        max_examples=lives,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=not IS_LONG,
        suppress_health_check=list(HealthCheck),
    )
    try:
        # Its annotation asks for a class; what it calls may be any function that makes a machine.
        run_state_machine_as_test(cast(Any, partial(machine, played)), settings=chosen)
        failures = 0
    finally:
        remarks = f"{played.lives} lives of {steps} steps at most"
        counts = (played.messages, played.crashes, 0, 0, 0)
        figures.rows.append(Row("model", driver, *counts, word(failures), remarks))
