"""A broker that is restarted while messages flow: nothing is lost, and no host is restarted."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import gevent
import pytest

from tests.failures.crash import CONCURRENCY, IS_LONG, Plan, a_seed
from tests.failures.figures import Figures
from tests.failures.flow import HELD, PART, Flow, Record
from tests.failures.places import Breakable, Folder
from tests.failures.vitals import Vitals

MESSAGES, TIMEOUT = (20_000, 300) if IS_LONG else (1_000, 120)
#: Restarts of each kind, with SIGKILL and orderly ones.
RESTARTS = 5 if IS_LONG else 1
#: Seconds without a broker at least: what a host had in its buffer is handled by then.
OUTAGE_SECONDS = 0.3
READING_AGAIN_SECONDS = 10.0
#: Bytes that this process may grow by in a run: what it keeps of each message for the verdict, and
#: a heap that settles.
GROWTH = 16 << 20
#: Timers that may be due when the greenlets are counted.
SPARE_GREENLETS = 4
#: One for each worker, and the undertaker's.
MOST_VMS = CONCURRENCY + 1


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
        pauses = []
        flow.record.wait_for_count(HELD)
        before = Vitals.now()
        for (count, _), end in zip(plan.moments(), ends, strict=True):
            pauses.append(restart(breakable, end, flow.record, count))
        flow.record.wait_for(lambda: flow.record.has(publisher.recorded))
        after = Vitals.now()
        left = flow.drain(publisher)
    verdict = flow.verdict(publisher, left, plan.kills)
    remarks = [
        f"{publisher.dropped} publishes failed",
        f"reading again after {max(pauses):.1f} s",
        f"memory {(after.memory - before.memory) / (1 << 20):+.1f} MiB",
        f"seed {plan.seed}",
    ]
    name = breakable.broker.name
    figures.add("broker restarted", name, plan.messages, plan.kills, verdict, remarks)
    assert not verdict.problems
    assert max(pauses) <= READING_AGAIN_SECONDS
    assert after.memory - before.memory < GROWTH
    assert after.files <= before.files
    assert after.greenlets <= before.greenlets + SPARE_GREENLETS
    assert after.vms <= MOST_VMS


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
