"""A broker that is restarted while messages flow: nothing is lost, and no host is restarted."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import gevent
import pytest

from tests.failures.crash import IS_LONG, Plan, a_seed
from tests.failures.figures import Figures
from tests.failures.flow import PART, Flow, Record
from tests.failures.places import Breakable, Folder
from tests.failures.vitals import Vitals

MESSAGES, TIMEOUT = (20_000, 300) if IS_LONG else (1_000, 120)
#: Restarts of each kind, with SIGKILL and orderly ones.
RESTARTS = 5 if IS_LONG else 1
#: Seconds without a broker at least: what a host had in its buffer is handled by then.
OUTAGE_SECONDS = 0.3
READING_AGAIN_SECONDS = 10.0
#: Bytes that this process may grow by between the first restart and the end of the run: what it
#: keeps of each message for the verdict, and a heap that settles.
GROWTH = 16 << 20


@pytest.mark.failures
@pytest.mark.network
@pytest.mark.timeout(TIMEOUT)
def test_a_broker_that_is_restarted_again_and_again_loses_nothing(
    breakable: Breakable, folder: Folder, own: Path, figures: Figures
) -> None:
    plan = Plan(MESSAGES, 2 * RESTARTS, a_seed(), PART)
    print("seed", plan.seed)  # noqa: T201 - shown when the test fails, by an error in it too
    ends = [breakable.kill, breakable.stop] * RESTARTS
    random.Random(plan.seed).shuffle(ends)
    flow = Flow(breakable.broker, folder.path, own)
    with flow.running(plan.messages, breakable.settling) as publisher:
        pauses, vitals = [], []
        for (count, _), end in zip(plan.moments(), ends, strict=True):
            pauses.append(restart(breakable, end, flow.record, count))
            vitals.append(Vitals.now())
        flow.record.wait_for(lambda: flow.record.has(publisher.recorded))
        vitals.append(Vitals.now())
        left = flow.drain(publisher)
    verdict = flow.verdict(publisher, left, plan.kills)
    remarks = [
        f"{publisher.dropped} publishes failed",
        f"reading again after {max(pauses):.1f} s",
        f"memory {(vitals[-1].memory - vitals[0].memory) / (1 << 20):+.1f} MiB",
        f"seed {plan.seed}",
    ]
    name = breakable.broker.name
    figures.add("broker restarted", name, plan.messages, plan.kills, verdict, remarks)
    assert not verdict.problems
    assert max(pauses) <= READING_AGAIN_SECONDS
    assert vitals[-1].memory - vitals[0].memory < GROWTH
    assert vitals[-1].files <= vitals[0].files
    assert vitals[-1].vms <= vitals[0].vms
    assert vitals[-1].greenlets <= vitals[0].greenlets


def restart(breakable: Breakable, end: Callable[[], None], record: Record, count: int) -> float:
    """Ends the broker after so many handlings, one at least, and starts it again.

    Returns how many seconds after the broker's return the next message was handled, 0 when that was
    before `start` returned.
    """
    record.wait_for_count(count)
    end()
    gevent.sleep(OUTAGE_SECONDS)
    seen = record.count()
    breakable.start()
    back = time.monotonic()
    assert record.wait_for(lambda: record.count() > seen), "nothing after the broker's return"
    return time.monotonic() - back
