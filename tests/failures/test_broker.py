"""A broker that is killed while messages flow: nothing is lost, and no host is restarted."""

from __future__ import annotations

import time
from pathlib import Path

import gevent
import pytest

from tests.failures.crash import IS_LONG, Plan, a_seed
from tests.failures.flow import PART, Flow, Record
from tests.failures.places import Breakable, Folder

MESSAGES, TIMEOUT = (20_000, 300) if IS_LONG else (1_000, 120)
KILLS = {"redis": 5, "amqp": 5} if IS_LONG else {"redis": 2, "amqp": 1}
#: Seconds without a broker at least: what a host had in its buffer is handled by then.
OUTAGE_SECONDS = 0.3
READING_AGAIN_SECONDS = 10.0


@pytest.mark.failures
@pytest.mark.network
@pytest.mark.timeout(TIMEOUT)
def test_a_broker_that_is_killed_again_and_again_loses_nothing(
    breakable: Breakable, folder: Folder, own: Path, figures: list[str]
) -> None:
    name = breakable.broker.name
    plan = Plan(MESSAGES, KILLS[name], a_seed(), PART)
    print("seed", plan.seed)  # noqa: T201 - shown when the test fails, by an error in it too
    flow = Flow(breakable.broker, folder.path, own)
    with flow.running(plan.messages, breakable.settling) as publisher:
        pauses = [kill(breakable, flow.record, count) for count, _ in plan.moments()]
        left = flow.drain(publisher)
    verdict = flow.verdict(publisher, left, plan.kills)
    figures.append(
        f"{name:7} {plan.messages} messages, {plan.kills} kills of the broker (seed {plan.seed}):"
        f" {verdict.figures}, {publisher.dropped} publishes failed,"
        f" reading again after {max(pauses):.1f} s: {verdict.word}"
    )
    assert not verdict.problems
    assert max(pauses) <= READING_AGAIN_SECONDS


def kill(breakable: Breakable, record: Record, count: int) -> float:
    """Kills the broker after so many handlings, one at least, and starts it again.

    Returns how many seconds after the broker's return the next message was handled, 0 when that was
    before `start` returned.
    """
    wanted = max(count, record.count() + 1)
    assert record.wait_for(lambda: record.count() >= wanted), f"nothing after {record.count()}"
    breakable.kill()
    gevent.sleep(OUTAGE_SECONDS)
    seen = record.count()
    breakable.start()
    back = time.monotonic()
    assert record.wait_for(lambda: record.count() > seen), "nothing after the broker's return"
    return time.monotonic() - back
