"""Metrics before upstream's SDK is imported: a reader that comes late loses nothing, and our classes are upstream's."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricReader

from otel_distro.guard import Guard
from otel_distro.metrics.late import LateReader
from tests.forking import in_child
from tests.metrics_rig import Setup
from tests.programs import run
from tests.servers.waiting import wait_until

NEVER = 3_600_000.0


class Late:
    """A provider that expects a reader, and what becomes of that."""

    def __init__(self, interval: float = NEVER) -> None:
        self.measured = True
        self.lines: list[str] = []
        self.made: list[InMemoryMetricReader] = []
        self.setup = Setup()
        self.late = LateReader(
            self._make,
            interval=interval,
            measured=lambda: self.measured,
            guard=Guard(output=lambda _, text: self.lines.append(text)),
        )
        self.setup.provider.expect(self.late)
        self.counter = self.setup.meter.create_counter("orders")

    def _make(self) -> MetricReader:
        reader = InMemoryMetricReader()
        self.made.append(reader)
        return reader

    def total(self) -> float:
        """Of the counter, as its reader has it."""
        (reader,) = self.made
        (point,) = self.setup.metrics(reader)["orders"].data_points
        value: float = point.value
        return value


@pytest.fixture
def late() -> Iterator[Late]:
    """One that waits for ever."""
    made = Late()
    yield made
    made.setup.provider.shutdown()


def test_what_was_measured_before_a_late_reader_comes_is_in_its_first_numbers(late: Late) -> None:
    """Cells are cumulative: nothing is lost by reading them late."""
    late.counter.add(2)
    assert late.made == []
    late.late.come()
    late.counter.add(3)
    assert late.total() == 5


def test_a_late_reader_comes_when_its_interval_is_over() -> None:
    """Nobody flushes and nothing ends: the first collection falls due all the same."""
    late = Late(interval=20)
    late.counter.add(1)
    wait_until(lambda: late.made != [], seconds=10, what="the reader")
    late.setup.provider.shutdown()
    assert len(late.made) == 1


def test_a_flush_fetches_the_reader_once(late: Late) -> None:
    """Whoever flushes wants all numbers to leave now, also for a second time."""
    late.counter.add(1)
    assert late.setup.provider.force_flush()
    assert late.setup.provider.force_flush()
    assert len(late.made) == 1


@pytest.mark.parametrize("measured", [True, False])
def test_an_end_fetches_the_reader_where_something_was_measured(measured: bool) -> None:
    """A process that ends before its first interval tells what it has measured, and imports nothing for nothing."""
    late = Late()
    late.measured = measured
    late.setup.provider.shutdown()
    assert len(late.made) == measured
    assert late.late.come() is None, "it does not come after the end"


def test_threads_that_flush_at_once_make_one_reader(late: Late) -> None:
    """However many want the reader, there is one."""
    flushing = [threading.Thread(target=late.setup.provider.force_flush) for _ in range(8)]
    for thread in flushing:
        thread.start()
    for thread in flushing:
        thread.join()
    assert len(late.made) == 1


def test_a_reader_that_cannot_be_made_is_said_once() -> None:
    """Metrics do not leave then, and nothing else suffers."""
    lines: list[str] = []
    setup = Setup()

    def fail() -> MetricReader:
        raise OSError("no threads left")

    guard = Guard(output=lambda _, text: lines.append(text))
    setup.provider.expect(LateReader(fail, interval=NEVER, measured=lambda: True, guard=guard))
    assert setup.provider.force_flush()
    assert setup.provider.force_flush()
    setup.provider.shutdown()
    (line,) = lines
    assert "no threads left" in line


def test_a_forked_child_waits_for_a_reader_of_its_own() -> None:
    """The thread that waits is gone in a child, where it begins to wait anew."""
    late = Late(interval=200)

    def look() -> object:
        late.counter.add(7)
        wait_until(lambda: late.made != [], seconds=10, what="the child's reader")
        return late.total()

    assert in_child(look) == "7"
    late.setup.provider.shutdown()


_ASK = """
import sys
from opentelemetry import metrics
from fastapi import FastAPI
FastAPI()
provider = metrics.get_meter_provider()
meter = metrics.get_meter("shop")
counter = meter.create_counter("orders")
counter.add(1)
assert "opentelemetry.sdk.metrics" not in sys.modules, "measuring needs the API alone"
from opentelemetry.sdk import metrics as sdk
made = [
    (provider, sdk.MeterProvider), (meter, sdk.Meter), (counter, sdk.Counter),
    (meter.create_up_down_counter("a"), sdk.UpDownCounter), (meter.create_histogram("b"), sdk.Histogram),
    (meter.create_gauge("c"), sdk._Gauge), (meter.create_observable_counter("d"), sdk.ObservableCounter),
    (meter.create_observable_up_down_counter("e"), sdk.ObservableUpDownCounter),
    (meter.create_observable_gauge("f"), sdk.ObservableGauge),
]
print([name.__name__ for one, name in made if not isinstance(one, name)], isinstance(counter, sdk.UpDownCounter))
"""


def test_who_imports_upstreams_metrics_later_finds_ours_to_be_those() -> None:
    """`isinstance` says yes for each of upstream's classes, although nothing was imported before."""
    done = run(_ASK, OTEL_TRACES_EXPORTER="none", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["[]", "False"]
