"""What a host has done and how it does, for Prometheus: read when somebody asks, kept nowhere.

Needs the extra `metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import gevent
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from wippy_lua import __version__
from wippy_lua.admin.survey import Survey
from wippy_lua.queue.driver import QueueInfo
from wippy_lua.queue.tally import BOUNDS, Histogram

if TYPE_CHECKING:
    from wippy_lua.assembly import App
    from wippy_lua.queue.consumer import Consumer

OF_QUEUE: Final = ("queue", "driver")
OF_CONSUMER: Final = ("queue", "consumer", "function")

#: Gauges of a queue: their name, what they mean, and the count.
QUEUE_GAUGES: Final[Sequence[tuple[str, str, Callable[[QueueInfo], float | None]]]] = (
    ("depth", "Messages in the queue, in flight and delayed ones too", lambda i: i.message_count),
    ("ready", "Messages that wait for a consumer", lambda i: i.ready),
    ("in_flight", "Messages that were delivered and are not settled", lambda i: i.in_flight),
    ("delayed", "Messages that wait for their time", lambda i: i.delayed),
    ("oldest_age_seconds", "Age of the oldest message not settled", lambda i: oldest_age_of(i)),
)


class Metrics:
    """Writes the metrics of one host."""

    def __init__(self, app: App, survey: Survey) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(HostCollector(app, survey))
        ProcessCollector(registry=self._registry)

    def page(self, accept: str) -> tuple[str, bytes]:
        """Returns the content type that suits an Accept header, and the text."""
        encoder, content_type = choose_encoder(accept)
        return content_type, encoder(self._registry)


class HostCollector(Collector):
    """Makes metrics of the plain numbers that a host keeps anyway."""

    def __init__(self, app: App, survey: Survey) -> None:
        self._app = app
        self._survey = survey

    def collect(self) -> Iterator[Metric]:
        for family in self._families():
            yield family
            gevent.sleep(0)  # so that a host with many consumers does not stall to write them

    def _families(self) -> Iterator[Metric]:
        version = {"version": __version__}
        yield InfoMetricFamily("wippy_lua", "The program that runs here", value=version)
        yield from self._queues()
        yield from self._consumers()
        yield from self._drivers()
        yield from self._machines()
        yield from self._hub()

    def _queues(self) -> Iterator[Metric]:
        told = self._survey.take()
        drivers = {config.id: config.driver for config in self._app.manager}
        for name, meaning, count in QUEUE_GAUGES:
            gauge = GaugeMetricFamily(f"wippy_lua_queue_{name}", meaning, labels=OF_QUEUE)
            for queue, info in told.items():
                value = count(info)
                if value is not None:
                    gauge.add_metric((queue, drivers[queue]), value)
            yield gauge
        published, failures = self._app.manager.published, self._survey.failures
        yield _counter(
            "wippy_lua_published",
            "Messages published by this process and stored",
            OF_QUEUE,
            {(queue, driver): published[queue] for queue, driver in drivers.items()},
        )
        yield _counter(
            "wippy_lua_scrape_errors",
            "Times that a queue could not be asked for its counts",
            OF_QUEUE,
            {(queue, driver): failures[queue] for queue, driver in drivers.items()},
        )

    def _consumers(self) -> Iterator[Metric]:
        consumers = {_labels(c): c for c in tuple(self._app.consumers.values())}
        yield _counter(
            "wippy_lua_handled",
            "Deliveries by what became of them",
            (*OF_CONSUMER, "outcome"),
            {
                (*labels, outcome): count
                for labels, consumer in consumers.items()
                for outcome, count in _outcomes(consumer).items()
            },
        )
        for name, meaning, number in (
            ("attempts", "Calls of handlers", lambda c: c.tally.durations.count),
            ("retries", "Calls of handlers after the first one", lambda c: c.tally.retries),
            ("dead_letters", "Messages moved to dead letters", lambda c: c.tally.dead_letters),
        ):
            values = {labels: number(c) for labels, c in consumers.items()}
            yield _counter(f"wippy_lua_{name}", meaning, OF_CONSUMER, values)
        for name, meaning, number in (
            ("handlers_running", "Handlers that run", lambda c: c.working),
            ("deliveries_buffered", "Deliveries that wait for a handler", lambda c: c.buffered),
            ("consumer_connected", "1 while messages can come", lambda c: c.connected),
        ):
            values = {labels: number(c) for labels, c in consumers.items()}
            yield _gauge(f"wippy_lua_{name}", meaning, OF_CONSUMER, values)
        yield _histogram(
            "wippy_lua_handler_duration_seconds",
            "How long handlers ran",
            OF_CONSUMER,
            {labels: c.tally.durations for labels, c in consumers.items()},
        )
        yield _histogram(
            "wippy_lua_queue_wait_seconds",
            "From the publish to the first attempt; looks at one message in a millisecond at most",
            OF_CONSUMER,
            {labels: c.tally.waits for labels, c in consumers.items()},
        )

    def _drivers(self) -> Iterator[Metric]:
        drivers = tuple(self._app.manager.drivers.items())
        yield _gauge(
            "wippy_lua_driver_connected",
            "1 while the broker can be reached, as last known",
            ("driver",),
            {(name,): driver.connected for name, driver in drivers},
        )
        yield _counter(
            "wippy_lua_driver_reconnects",
            "Connections that were lost and came back",
            ("driver",),
            {(name,): driver.reconnects for name, driver in drivers},
        )

    def _machines(self) -> Iterator[Metric]:
        usage = tuple(self._app.functions.usage())
        yield _gauge(
            "wippy_lua_vms", "Lua VMs", ("function",), {(name,): count for name, count, _ in usage}
        )
        yield _gauge(
            "wippy_lua_vm_memory_bytes",
            "Memory that Lua VMs use",
            ("function",),
            {(name,): memory for name, _, memory in usage},
        )

    def _hub(self) -> Iterator[Metric]:
        delays = self._app.hub_delays
        yield _histogram(
            "wippy_lua_hub_delay_seconds",
            "How late the event loop came to a heartbeat, four times a second",
            (),
            {(): delays.histogram},
        )
        yield _gauge(
            "wippy_lua_hub_delay_max_seconds",
            "The longest such delay of the last ten seconds",
            (),
            {(): delays.recent},
        )


def oldest_age_of(info: QueueInfo) -> float | None:
    """Returns 0 for an empty queue, None where the broker does not tell."""
    return 0.0 if info.message_count == 0 else info.oldest_age


def _labels(consumer: Consumer) -> tuple[str, str, str]:
    config = consumer.config
    return config.queue, config.id, config.func


def _outcomes(consumer: Consumer) -> Mapping[str, int]:
    return {"success": consumer.tally.successes, **consumer.tally.others}


def _counter(
    name: str, meaning: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
) -> Metric:
    return _filled(CounterMetricFamily(name, meaning, labels=labels), values)


def _gauge(
    name: str, meaning: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
) -> Metric:
    return _filled(GaugeMetricFamily(name, meaning, labels=labels), values)


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[tuple[str, ...], float]
) -> Metric:
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _histogram(
    name: str, meaning: str, labels: Sequence[str], values: Mapping[tuple[str, ...], Histogram]
) -> Metric:
    family = HistogramMetricFamily(name, meaning, labels=labels)
    for names, histogram in values.items():
        family.add_metric(names, buckets_of(histogram), histogram.total)
    return family


def buckets_of(histogram: Histogram) -> list[tuple[str, float]]:
    """Returns cumulative counts by upper bound, as the format wants them."""
    bounds: Iterable[float] = (*BOUNDS, float("inf"))
    counts = accumulate(histogram.counts)
    return [(floatToGoString(bound), count) for bound, count in zip(bounds, counts, strict=True)]
