"""The memory driver in the place of another: what of a queue holds there, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wippy_lua.clock import SystemClock
from wippy_lua.errors import Kind, QueueFull, WippyError
from wippy_lua.log import NullLog
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import Driver
from wippy_lua.queue.drivers import make_stand_in
from wippy_lua.queue.message import Message
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.kinds import KINDS
from wippy_lua.registry.problem import Mark

KIND = "queue.driver.redis"


def driver_for(kind: str) -> Driver:
    entry = Entry("app:d", kind, KINDS[kind].spec(), Mark("_index.yaml"), Path())
    driver = make_stand_in(entry, SystemClock(), NullLog())
    driver.start()
    return driver


def queue(**options: Any) -> QueueConfig:
    return QueueConfig("app:q", "app:d", "q", options=options)


def fill(driver: Driver, count: int) -> None:
    messages = [Message(f"m{n}", b"1", "application/json", {}, 0.0) for n in range(count)]
    driver.publish("app:q", messages, timeout=0)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("queue.driver.")])
def test_there_is_one_for_every_kind_without_its_extra(kind: str) -> None:
    driver = driver_for(kind)
    driver.declare_queue(queue())
    fill(driver, 1)
    assert driver.info("app:q").ready == 1


def test_a_bound_holds() -> None:
    driver = driver_for(KIND)
    driver.declare_queue(queue(max_length=2))
    fill(driver, 2)
    with pytest.raises(QueueFull):
        fill(driver, 1)


@pytest.mark.parametrize("options", [{}, {"max_length": None}])
def test_a_queue_without_a_bound_has_none(options: dict[str, Any]) -> None:
    driver = driver_for(KIND)
    driver.declare_queue(queue(**options))
    fill(driver, 1001)
    assert driver.info("app:q").ready == 1001


def test_a_bound_of_the_memory_drivers_own_stays() -> None:
    driver = driver_for("queue.driver.memory")
    driver.declare_queue(queue())
    with pytest.raises(WippyError, match="1000 messages wait"):
        fill(driver, 1001)


def test_options_of_another_driver_mean_nothing() -> None:
    driver = driver_for(KIND)
    driver.declare_queue(queue(queue_type="quorum", max_priority=5))
    fill(driver, 1)


@pytest.mark.parametrize("length", ["many", 0])
def test_a_bound_that_is_wrong_is_refused(length: object) -> None:
    with pytest.raises(WippyError, match="'max_length' must be an integer") as caught:
        driver_for(KIND).declare_queue(queue(max_length=length))
    assert caught.value.kind is Kind.INVALID


def test_a_queue_that_exists_elsewhere_is_made() -> None:
    driver = driver_for(KIND)
    driver.declare_queue(QueueConfig("app:q", "app:d", "q", declare=False))
    fill(driver, 1)
