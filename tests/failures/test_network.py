"""Networks that break between the hosts and a broker: noticed in time, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import gevent
import pytest

from tests.drivers.proxy import Proxy
from tests.failures.conftest import LEASE
from tests.failures.crash import IS_LONG, PATIENCE, Plan, a_seed
from tests.failures.figures import Figures
from tests.failures.flow import HELD, PART, Flow
from tests.failures.places import Breakable, Broker, Folder
from tests.host.apps import wait_for
from wippy_lua.redis.wire import silence_within
from wippy_lua.units import parse_duration

pytestmark = [pytest.mark.failures, pytest.mark.network]

MESSAGES, CUTS, TIMEOUT = (20_000, 20, 300) if IS_LONG else (1_000, 3, 120)
CUT_SECONDS = 1.0
#: Seconds from a cut until messages come that were read after it, with FIELDS.
READING_AGAIN_SECONDS = 2.0
#: Seconds by which the hub may be later than an idle one, in all but a thousandth of the time.
LATE_SECONDS = 0.25
FIELDS = {"redis": {}, "amqp": {"heartbeat": "1s", "reconnect_delay": "100ms"}}
#: Seconds in which a host notices that nothing comes through any more. AMQP: three heartbeats,
#: and two. Redis: the leases ask for an answer four times in their time. A slow machine has one.
SILENCE = silence_within(parse_duration(LEASE))
HALF_OPEN_SECONDS = {"redis": parse_duration(LEASE) / 4 + SILENCE + 1.0, "amqp": 5.0}
#: Seconds until messages come again over new connections.
FORGOTTEN_SECONDS = {"redis": HALF_OPEN_SECONDS["redis"] + 1.0, "amqp": 6.0}


@pytest.fixture
def proxy(breakable: Breakable) -> Iterator[Proxy]:
    with Proxy(breakable.port) as proxy:
        yield proxy


@pytest.fixture
def remote(breakable: Breakable, proxy: Proxy) -> Broker:
    """The broker behind the proxy."""
    return breakable.behind(proxy.port, **FIELDS[breakable.broker.name])


@pytest.mark.timeout(TIMEOUT)
@pytest.mark.parametrize("fault", [Proxy.cut, Proxy.tear], ids=["cut", "torn"])
def test_a_broken_connection_is_noticed_within_a_second_and_nothing_is_lost(
    remote: Broker,
    proxy: Proxy,
    fault: Callable[[Proxy], None],
    folder: Folder,
    own: Path,
    figures: Figures,
) -> None:
    plan = Plan(MESSAGES, CUTS, a_seed(), PART)
    print("seed", plan.seed)  # noqa: T201 - shown when the test fails, by an error in it too
    flow = Flow(remote, folder.path, own)
    with flow.running(plan.messages) as publisher:
        times = [cut(partial(fault, proxy), flow, count) for count, _ in plan.moments()]
        left = flow.drain(publisher)
    verdict = flow.verdict(publisher, left, plan.kills)
    noticed, again = (max(seconds) for seconds in zip(*times, strict=True))
    remarks = [
        f"{publisher.dropped} publishes failed",
        f"noticed after {noticed:.2f} s",
        f"reading again after {again:.2f} s",
        f"p99.9 {flow.stalls.late(0.999) * 1000:.0f} ms late,"
        f" idle {flow.stalls.idle_late(0.999) * 1000:.0f} ms",
        f"seed {plan.seed}",
    ]
    figures.add(fault.__name__, remote.name, plan.messages, plan.kills, verdict, remarks)
    assert not verdict.problems
    assert noticed <= CUT_SECONDS
    assert again <= READING_AGAIN_SECONDS
    if IS_LONG:  # In a short run a single moment would be the thousandth part.
        assert flow.stalls.excess(0.999) <= LATE_SECONDS


def cut(fault: Callable[[], None], flow: Flow, count: int) -> tuple[float, float]:
    """Breaks all connections after so many handlings, one at least.

    Returns the seconds until both hosts have noticed, and until a message was handled that was
    read afterwards.
    """
    record = flow.record
    record.wait_for_count(count)
    since, seen = time.monotonic(), record.count()
    fault()
    wait_for(lambda: flow.noticed_after(since) is not None, PATIENCE)
    # A host handles what it holds without a connection.
    assert record.wait_for(lambda: record.count() > seen + HELD), "nothing after the cut"
    return flow.noticed_after(since) or 0.0, time.monotonic() - since


@pytest.mark.timeout(TIMEOUT)
def test_a_half_open_connection_is_given_up_in_time_and_nothing_is_lost(
    remote: Broker, proxy: Proxy, folder: Folder, own: Path, figures: Figures
) -> None:
    flow = Flow(remote, folder.path, own)
    with flow.running(MESSAGES) as publisher:
        assert flow.record.wait_for(lambda: flow.record.count() >= MESSAGES // 4)
        since = time.monotonic()
        proxy.freeze()
        wait_for(lambda: flow.noticed_after(since) is not None, PATIENCE)
        noticed = flow.noticed_after(since) or 0.0
        proxy.thaw()
        left = flow.drain(publisher)
    verdict = flow.verdict(publisher, left, faults=1)
    remarks = [f"{publisher.dropped} publishes failed", f"noticed after {noticed:.1f} s"]
    figures.add("half-open", remote.name, MESSAGES, 1, verdict, remarks)
    assert not verdict.problems
    assert noticed <= HALF_OPEN_SECONDS[remote.name]


@pytest.mark.timeout(TIMEOUT)
def test_connections_that_a_firewall_forgot_are_replaced_and_nothing_is_lost(
    remote: Broker, proxy: Proxy, folder: Folder, own: Path, figures: Figures
) -> None:
    flow = Flow(remote, folder.path, own)
    with flow.running(MESSAGES) as publisher:
        assert flow.record.wait_for(lambda: flow.record.count() >= MESSAGES // 4)
        since, seen = time.monotonic(), flow.record.count()
        proxy.strand()
        assert flow.record.wait_for(lambda: flow.record.count() > seen + HELD)
        again = time.monotonic() - since
        left = flow.drain(publisher)
    verdict = flow.verdict(publisher, left, faults=1)
    remarks = [f"{publisher.dropped} publishes failed", f"reading again after {again:.1f} s"]
    figures.add("forgotten", remote.name, MESSAGES, 1, verdict, remarks)
    assert not verdict.problems
    assert again <= FORGOTTEN_SECONDS[remote.name]


#: Bytes at a time, the seconds before each, and how many messages that is for.
SLOW = {"far away": (65536, 0.05, 160), "byte by byte": (1, 0.0, 100)}


@pytest.mark.timeout(TIMEOUT)
@pytest.mark.parametrize("how", SLOW)
def test_a_slow_network_costs_time_only(
    remote: Broker, proxy: Proxy, folder: Folder, own: Path, figures: Figures, how: str
) -> None:
    piece, pause, messages = SLOW[how]
    # With the default lease: a short one expects answers sooner than such a network brings them.
    usual = replace(remote, lease=remote.lease and "30s")
    flow = Flow(usual, folder.path, own)
    proxy.slow_down(piece, pause)
    with flow.running(messages) as publisher:
        left = flow.drain(publisher)
    verdict = flow.verdict(publisher, left, faults=0)
    remarks = [f"{publisher.dropped} publishes failed"]
    figures.add(how, remote.name, messages, 0, verdict, remarks)
    assert not verdict.problems
    assert not publisher.dropped


# Waiting costs nothing

WATCH_SECONDS = 2.0
#: The part of a processor that a host may take while it has nothing to do.
MOST_CPU = 0.1


def cpu_while_waiting() -> float:
    """Returns the part of a processor that this process takes."""
    gevent.sleep(0.5)  # What was begun is over then.
    begun, used = time.monotonic(), time.process_time()
    gevent.sleep(WATCH_SECONDS)
    return (time.process_time() - used) / (time.monotonic() - begun)


def test_an_idle_host_is_idle(
    any_broker: Broker, folder: Folder, own: Path, figures: Figures
) -> None:
    with Flow(any_broker, folder.path, own).running(0):
        cpu = cpu_while_waiting()
    assert cpu < MOST_CPU
    figures.kept("idle", any_broker.name, 0, 0, remarks=f"CPU {cpu:.1%}")


def test_a_host_without_its_broker_waits_and_does_not_spin(
    remote: Broker, proxy: Proxy, folder: Folder, own: Path, figures: Figures
) -> None:
    flow = Flow(remote, folder.path, own)
    with flow.running(0):
        proxy.refuse(True)
        proxy.cut()
        cpu = cpu_while_waiting()
        proxy.refuse(False)
    assert cpu < MOST_CPU
    figures.kept("broker gone", remote.name, 0, 1, remarks=f"CPU {cpu:.1%}")
