"""What a host has done and how it does, for Prometheus: read when somebody asks, kept nowhere.

Needs the extra `metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Final, TypeAlias

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

from wippy_lua import __version__
from wippy_lua.admin.survey import Survey
from wippy_lua.queue.consumer import Consumer
from wippy_lua.queue.driver import QueueInfo
from wippy_lua.queue.tally import BOUNDS, Histogram, Tally

if TYPE_CHECKING:
    from wippy_lua.assembly import App

Labels: TypeAlias = tuple[str, ...]

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

#: The same of a consumer.
CONSUMER_COUNTERS: Final[Sequence[tuple[str, str, Callable[[Consumer], float]]]] = (
    ("attempts", "Calls of handlers", lambda c: c.tally.durations.count),
    ("retries", "Messages given back for another attempt", lambda c: c.tally.retries),
    ("dead_letters", "Messages moved to dead letters", lambda c: c.tally.dead_letters),
)
CONSUMER_GAUGES: Final[Sequence[tuple[str, str, Callable[[Consumer], float]]]] = (
    ("handlers_running", "Handlers that run", lambda c: c.working),
    ("deliveries_buffered", "Deliveries that wait for a handler", lambda c: c.buffered),
    ("consumer_connected", "1 while messages can come, as last known", lambda c: c.connected),
)
CONSUMER_TIMES: Final[Sequence[tuple[str, str, Callable[[Tally], Histogram]]]] = (
    ("handler_duration", "How long handlers ran", lambda tally: tally.durations),
    (
        "queue_wait",
        "From the publish to the first attempt; looks at one message in a millisecond at most",
        lambda tally: tally.waits,
    ),
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
        labels = {config.id: (config.id, config.driver) for config in self._app.manager}
        for name, meaning, count in QUEUE_GAUGES:
            counts = [(labels[queue], count(info)) for queue, info in told.items()]
            known = [(names, value) for names, value in counts if value is not None]
            yield _gauge(f"wippy_lua_queue_{name}", meaning, OF_QUEUE, known)
        pauses, published, failures = (
            self._app.pauses,
            self._app.manager.published,
            self._survey.failures,
        )
        paused = [(names, queue in pauses) for queue, names in labels.items()]
        yield _gauge("wippy_lua_queue_paused", "1 while it is paused here", OF_QUEUE, paused)
        yield _counter(
            "wippy_lua_published",
            "Messages published by this process and stored",
            OF_QUEUE,
            [(names, published[queue]) for queue, names in labels.items()],
        )
        yield _counter(
            "wippy_lua_scrape_errors",
            "Times that a queue could not be asked for its counts",
            OF_QUEUE,
            [(names, failures[queue]) for queue, names in labels.items()],
        )

    def _consumers(self) -> Iterator[Metric]:
        consumers = [(_labels(c), c) for c in tuple(self._app.consumers.values())]
        yield _counter(
            "wippy_lua_handled",
            "Deliveries by what became of them",
            (*OF_CONSUMER, "outcome"),
            [
                ((*labels, outcome), count)
                for labels, consumer in consumers
                for outcome, count in _outcomes(consumer).items()
            ],
        )
        for name, meaning, number in CONSUMER_COUNTERS:
            values = [(labels, number(consumer)) for labels, consumer in consumers]
            yield _counter(f"wippy_lua_{name}", meaning, OF_CONSUMER, values)
        for name, meaning, number in CONSUMER_GAUGES:
            values = [(labels, number(consumer)) for labels, consumer in consumers]
            yield _gauge(f"wippy_lua_{name}", meaning, OF_CONSUMER, values)
        for name, meaning, times in CONSUMER_TIMES:
            histograms = [(labels, times(consumer.tally)) for labels, consumer in consumers]
            yield _histogram(f"wippy_lua_{name}_seconds", meaning, OF_CONSUMER, histograms)

    def _drivers(self) -> Iterator[Metric]:
        drivers = tuple(self._app.manager.drivers.items())
        yield _gauge(
            "wippy_lua_driver_connected",
            "1 while the broker can be reached, as last known",
            ("driver",),
            [((name,), driver.connected) for name, driver in drivers],
        )
        yield _counter(
            "wippy_lua_driver_reconnects",
            "Connections that were lost and came back",
            ("driver",),
            [((name,), driver.reconnects) for name, driver in drivers],
        )

    def _machines(self) -> Iterator[Metric]:
        usage = tuple(self._app.functions.usage())
        counts = [((function,), count) for function, count, _ in usage]
        memory = [((function,), bytes_used) for function, _, bytes_used in usage]
        yield _gauge("wippy_lua_vms", "Lua VMs", ("function",), counts)
        yield _gauge("wippy_lua_vm_memory_bytes", "Memory of Lua VMs", ("function",), memory)

    def _hub(self) -> Iterator[Metric]:
        delays = self._app.hub_delays
        yield _histogram(
            "wippy_lua_hub_delay_seconds",
            "How late the event loop came to a heartbeat, four times a second",
            (),
            [((), delays.histogram)],
        )
        yield _gauge(
            "wippy_lua_hub_delay_max_seconds",
            "The longest such delay of the last ten seconds",
            (),
            [((), delays.recent)],
        )


def oldest_age_of(info: QueueInfo) -> float | None:
    """Returns 0 for an empty queue, None where the broker does not tell."""
    return 0.0 if info.message_count == 0 else info.oldest_age


def _labels(consumer: Consumer) -> Labels:
    config = consumer.config
    return config.queue, config.id, config.func


def _outcomes(consumer: Consumer) -> Mapping[str, int]:
    return {"success": consumer.tally.successes, **consumer.tally.others}


def _counter(
    name: str, meaning: str, labels: Sequence[str], values: Iterable[tuple[Labels, float]]
) -> Metric:
    return _filled(CounterMetricFamily(name, meaning, labels=labels), values)


def _gauge(
    name: str, meaning: str, labels: Sequence[str], values: Iterable[tuple[Labels, float]]
) -> Metric:
    return _filled(GaugeMetricFamily(name, meaning, labels=labels), values)


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily, values: Iterable[tuple[Labels, float]]
) -> Metric:
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _histogram(
    name: str, meaning: str, labels: Sequence[str], values: Iterable[tuple[Labels, Histogram]]
) -> Metric:
    family = HistogramMetricFamily(name, meaning, labels=labels)
    for names, histogram in values:
        family.add_metric(names, buckets_of(histogram), histogram.total)
    return family


def buckets_of(histogram: Histogram) -> list[tuple[str, float]]:
    """Returns cumulative counts by upper bound, as the format wants them."""
    bounds = [*map(str, BOUNDS), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))
