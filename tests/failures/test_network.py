"""Networks that break between the hosts and a broker: noticed in time, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.proxy import Proxy
from tests.failures.conftest import LEASE
from tests.failures.crash import IS_LONG, PATIENCE, Plan, a_seed
from tests.failures.flow import HELD, PART, Flow
from tests.failures.places import Breakable, Broker, Folder
from tests.host.apps import wait_for
from wippy_lua.queue.drivers.redis.reader import LONGEST_READ
from wippy_lua.redis.wire import ANSWER_TIMEOUT
from wippy_lua.units import parse_duration

pytestmark = [pytest.mark.failures, pytest.mark.network]

MESSAGES, CUTS, TIMEOUT = (20_000, 20, 300) if IS_LONG else (1_000, 3, 120)
CUT_SECONDS = 1.0
#: Seconds from a cut until messages come that were read after it, with FIELDS.
READING_AGAIN_SECONDS = 2.0
FIELDS = {"redis": {}, "amqp": {"heartbeat": "1s", "reconnect_delay": "100ms"}}
#: Seconds in which a host notices that nothing comes through any more. AMQP: three heartbeats,
#: and two. Redis: what waits for an answer; the leases ask for one four times in their time.
HALF_OPEN_SECONDS = {"redis": ANSWER_TIMEOUT + parse_duration(LEASE) / 4 + 1.0, "amqp": 5.0}
#: Seconds until messages come again over new connections. Redis: a read that waits on the server
#: ends after LONGEST_READ, and its answer has its time then.
FORGOTTEN_SECONDS = {"redis": LONGEST_READ + ANSWER_TIMEOUT + 1.0, "amqp": 6.0}


@pytest.fixture
def proxy(breakable: Breakable) -> Iterator[Proxy]:
    with Proxy(breakable.port) as proxy:
        yield proxy


@pytest.fixture
def remote(breakable: Breakable, proxy: Proxy) -> Broker:
    """The broker behind the proxy."""
    return breakable.behind(proxy.port, **FIELDS[breakable.broker.name])


@pytest.mark.timeout(TIMEOUT)
def test_a_cut_connection_is_noticed_within_a_second_and_nothing_is_lost(
    remote: Broker, proxy: Proxy, folder: Folder, own: Path, figures: list[str]
) -> None:
    plan = Plan(MESSAGES, CUTS, a_seed(), PART)
    print("seed", plan.seed)  # noqa: T201 - shown when the test fails, by an error in it too
    flow = Flow(remote, folder.path, own)
    with flow.running(plan.messages) as publisher:
        times = [cut(proxy, flow, count) for count, _ in plan.moments()]
        left = flow.drain(publisher)
    verdict = flow.verdict(publisher, left, plan.kills)
    noticed, again = (max(seconds) for seconds in zip(*times, strict=True))
    figures.append(
        f"{remote.name:7} {plan.messages} messages, {plan.kills} cuts (seed {plan.seed}):"
        f" {verdict.figures}, {publisher.dropped} publishes failed,"
        f" noticed after {noticed:.2f} s, reading again after {again:.2f} s: {verdict.word}"
    )
    assert not verdict.problems
    assert noticed <= CUT_SECONDS
    assert again <= READING_AGAIN_SECONDS


def cut(proxy: Proxy, flow: Flow, count: int) -> tuple[float, float]:
    """Cuts all connections after so many handlings, one at least.

    Returns the seconds until both hosts have noticed, and until a message was handled that was
    read afterwards.
    """
    record = flow.record
    wanted = max(count, record.count() + 1)
    assert record.wait_for(lambda: record.count() >= wanted), f"nothing after {record.count()}"
    since, seen = time.monotonic(), record.count()
    proxy.cut()
    wait_for(lambda: flow.noticed_after(since) is not None, PATIENCE)
    # A host handles what it holds without a connection.
    assert record.wait_for(lambda: record.count() > seen + HELD), "nothing after the cut"
    return flow.noticed_after(since) or 0.0, time.monotonic() - since


@pytest.mark.timeout(TIMEOUT)
def test_a_half_open_connection_is_given_up_in_time_and_nothing_is_lost(
    remote: Broker, proxy: Proxy, folder: Folder, own: Path, figures: list[str]
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
    figures.append(
        f"{remote.name:7} {MESSAGES} messages, half-open once: {verdict.figures},"
        f" {publisher.dropped} publishes failed, noticed after {noticed:.1f} s: {verdict.word}"
    )
    assert not verdict.problems
    assert noticed <= HALF_OPEN_SECONDS[remote.name]


@pytest.mark.timeout(TIMEOUT)
def test_connections_that_a_firewall_forgot_are_replaced_and_nothing_is_lost(
    remote: Broker, proxy: Proxy, folder: Folder, own: Path, figures: list[str]
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
    figures.append(
        f"{remote.name:7} {MESSAGES} messages, forgotten once: {verdict.figures},"
        f" {publisher.dropped} publishes failed, reading again after {again:.1f} s: {verdict.word}"
    )
    assert not verdict.problems
    assert again <= FORGOTTEN_SECONDS[remote.name]
