"""Readers of the metrics core: intervals, callbacks, exemplars, forks and ends."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import context as context_api
from opentelemetry import metrics as api
from opentelemetry import trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
)
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import (
    ExponentialBucketHistogramAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from tests.forking import in_child
from tests.metrics_rig import DELTA, Setup, span


def test_callbacks_are_run_at_collection_and_a_failing_one_costs_only_itself() -> None:
    """Values come from functions and generators; a series that is not observed again disappears."""
    made = Setup()
    seen = [Observation(5, {"a": "x"}), Observation(7, {"a": "y"})]

    def broken(_: CallbackOptions) -> Iterator[Observation]:
        yield Observation(1, {"a": "broken"})
        raise RuntimeError("no")

    def generator() -> Iterator[Any]:
        yield []
        while True:
            yield [Observation(9, {"a": "z"})]

    made.meter.create_observable_up_down_counter("o", [broken, lambda options: seen, generator()])
    x, y, z, b = ((("a", letter),) for letter in ("x", "y", "z", "broken"))
    assert made.values("o") == {x: 5, y: 7, z: 9, b: 1}
    del seen[0]
    assert made.values("o") == {y: 7, z: 9, b: 1}
    assert [f.count for f in made.guard.failures] == [2]


@pytest.mark.parametrize("bad", [Observation("no"), Observation(None), 3, None])  # type: ignore[arg-type]
@pytest.mark.parametrize("kind", ["counter", "up_down_counter", "gauge"])
def test_a_value_that_cannot_be_observed_costs_itself(kind: str, bad: Any) -> None:
    """Those that the callback reports behind it count (upstream leaves them out), and one line says why."""
    made = Setup()
    observations = [Observation(1, {"a": "x"}), bad, Observation(2, {"a": "y"})]
    getattr(made.meter, f"create_observable_{kind}")("o", [lambda options: observations])
    for _ in range(2):
        assert made.values("o") == {(("a", "x"),): 1, (("a", "y"),): 2}
    assert len(made.lines) == 1
    assert "instrument o" in made.lines[0]


def test_a_callback_that_hangs_holds_up_no_other_collection_for_longer_than_its_timeout() -> None:
    """A second collection gives up when its time is over instead of waiting for the first one's callback."""
    made = Setup()
    started, go = threading.Event(), threading.Event()

    def hanging(_: CallbackOptions) -> list[Observation]:
        started.set()
        go.wait(30)
        return []

    made.meter.create_observable_gauge("g", [hanging])
    thread = threading.Thread(target=made.reader.collect)
    thread.start()
    started.wait(30)
    made.provider.observe(timeout_millis=20)
    go.set()
    thread.join(30)
    assert [f.part for f in made.guard.failures] == ["metrics: collection"]


def test_a_reader_added_later_sees_what_was_counted_before() -> None:
    """Cells are cumulative: a late reader's first numbers are the totals (upstream starts it at zero)."""
    made = Setup()
    made.meter.create_counter("c").add(3)
    late = InMemoryMetricReader()
    made.provider.add_metric_reader(late)
    assert made.metrics(late)["c"].data_points[0].value == 3
    made.provider.remove_metric_reader(late)
    assert late.get_metrics_data() is None


def test_a_late_reader_with_another_aggregation_gets_measurements_of_series_bound_before() -> None:
    """A series that an instrumentation keeps feeds the exponential histogram of a reader added afterwards."""
    made = Setup()
    series = made.meter.create_histogram("h").series({"a": "b"})
    series.record(1)
    late = InMemoryMetricReader(preferred_aggregation={Histogram: ExponentialBucketHistogramAggregation()})
    made.provider.add_metric_reader(late)
    series.record(2)
    assert made.metrics()["h"].data_points[0].count == 2
    assert made.metrics(late)["h"].data_points[0].count == 1
    assert made.metrics(late)["h"].data_points[0].positive.bucket_counts == (1,)


def test_two_delta_readers_do_not_take_from_each_other() -> None:
    """Each reader's intervals, with their extremes, add up to the whole."""
    one, two = (InMemoryMetricReader({Counter: DELTA, Histogram: DELTA}) for _ in range(2))
    made = Setup(one)
    made.provider.add_metric_reader(two)
    counter, histogram = made.meter.create_counter("c"), made.meter.create_histogram("h")
    for value in (5, 1):
        counter.add(value)
        histogram.record(value)
        data = made.metrics(one)
        assert data["c"].data_points[0].value == value
        assert (data["h"].data_points[0].min, data["h"].data_points[0].max) == (value, value)
    data = made.metrics(two)
    assert data["c"].data_points[0].value == 6
    assert (data["h"].data_points[0].min, data["h"].data_points[0].max) == (1, 5)
    assert made.metrics(one) == made.metrics(two) == {}


def test_delta_intervals_touch_and_cumulative_ones_begin_at_the_series() -> None:
    """A delta point starts where the last one ended; a cumulative one where its series began."""
    made = Setup(InMemoryMetricReader({Counter: DELTA}))
    cumulative = InMemoryMetricReader()
    made.provider.add_metric_reader(cumulative)
    counter = made.meter.create_counter("c")
    before = time.time_ns()
    counter.add(1)
    first, total = made.metrics()["c"].data_points[0], made.metrics(cumulative)["c"].data_points[0]
    counter.add(1)
    second, again = made.metrics()["c"].data_points[0], made.metrics(cumulative)["c"].data_points[0]
    assert before <= first.start_time_unix_nano <= first.time_unix_nano == second.start_time_unix_nano
    assert total.start_time_unix_nano == again.start_time_unix_nano == first.start_time_unix_nano


def test_no_point_starts_after_its_time_when_the_clock_is_set_back() -> None:
    """A cumulative series says the same start from then on, a delta one's intervals touch, and exemplars go on."""
    made = Setup(InMemoryMetricReader({Counter: DELTA}))
    cumulative = InMemoryMetricReader()
    made.provider.add_metric_reader(cumulative)
    counter = made.meter.create_counter("c")
    first = time.time_ns()
    found: dict[InMemoryMetricReader, list[Any]] = {made.reader: [], cumulative: []}
    for minutes in (60, -2, -1, 0):
        counter.add(1, context=trace.set_span_in_context(span(1)))
        for reader, kept in found.items():
            # what a reader asks for at that time
            collection = made.provider._collections[reader]
            data = collection.collect(
                made.provider._instruments, made.provider.resource, first + minutes * 60_000_000_000
            )
            assert data is not None
            kept.extend(data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points)
    for points in found.values():
        assert all(point.start_time_unix_nano <= point.time_unix_nano for point in points)
        assert len(points[1].exemplars) == 1
    delta, total = found.values()
    assert [point.value for point in delta] == [1] * 4
    assert [point.value for point in total] == [1, 2, 3, 4]
    assert [a.time_unix_nano for a in delta[1:3]] == [b.start_time_unix_nano for b in delta[2:]]
    assert len({point.start_time_unix_nano for point in total[1:]}) == 1


def test_when_a_gauge_was_set_is_told_by_a_clock_that_nobody_sets() -> None:
    """Of several workers' values the newest is shown, also where the wall clock was set back in between."""
    series: Any = Setup().meter.create_gauge("g").series({})
    before = time.monotonic()
    series.set(1)
    assert before <= series.seen() <= time.monotonic()


def test_a_dropped_attribute_is_found_in_the_exemplar() -> None:
    """What a view takes away from the series is kept with its exemplar (specification, Exemplar)."""
    made = Setup(views=[View(instrument_name="h", attribute_keys={"route"})])
    made.meter.create_histogram("h").record(1, {"route": "/", "user": "7"}, trace.set_span_in_context(span(9)))
    [point] = made.metrics()["h"].data_points
    assert point.attributes == {"route": "/"}
    [exemplar] = point.exemplars
    assert (exemplar.filtered_attributes, exemplar.span_id, exemplar.trace_id) == ({"user": "7"}, 9, 9 << 64 | 1)


def test_only_measurements_of_sampled_spans_become_exemplars() -> None:
    """trace_based takes sampled spans, given or current; always_on takes all; always_off none."""
    counts = {}
    for name in ("trace_based", "always_on", "always_off"):
        made = Setup(exemplar_filter=name)
        h = made.meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1, 2, 3, 4])
        token = context_api.attach(trace.set_span_in_context(span(1)))
        h.record(0.5)
        context_api.detach(token)
        h.record(1.5)
        h.record(2.5, context=trace.set_span_in_context(span(2, sampled=False)))
        h.series({}).record(3.5, span(3))
        h.series({}).record(4.5)
        counts[name] = [(e.value, e.span_id) for e in made.metrics()["h"].data_points[0].exemplars]
    assert counts["trace_based"] == [(0.5, 1), (3.5, 3)]
    assert counts["always_on"] == [(0.5, 1), (1.5, None), (2.5, 2), (3.5, 3), (4.5, None)]
    assert counts["always_off"] == []


def test_an_exemplar_is_given_once_to_each_reader() -> None:
    """A collection shows only exemplars younger than the one before."""
    made = Setup()
    made.meter.create_counter("c").add(1, context=trace.set_span_in_context(span(1)))
    assert len(made.metrics()["c"].data_points[0].exemplars) == 1
    assert made.metrics()["c"].data_points[0].exemplars == []


def test_an_exemplar_does_not_keep_its_span_alive() -> None:
    """A reservoir holds ids, never the span with its attributes."""
    made = Setup()
    recording = span(5)
    made.meter.create_counter("c").series({}).add(1, recording)
    reference = weakref.ref(recording)
    del recording
    gc.collect()
    assert reference() is None


def test_a_forked_child_starts_at_zero_and_its_parent_goes_on() -> None:
    """Inherited totals are not counted twice; bound series go on to work in both; the child has its own resource."""
    made = Setup(child_resource=lambda parent: parent.merge(Resource({"child": True})))
    counter, histogram = made.meter.create_counter("c"), made.meter.create_histogram("h").series({"a": "b"})
    gauge = made.meter.create_gauge("g")
    counter.add(100)
    histogram.record(5)
    gauge.set(1)

    def facts() -> object:
        counter.add(1)
        histogram.record(7)
        data = made.metrics()
        return (
            data["c"].data_points[0].value,
            data["h"].data_points[0].sum,
            data["h"].data_points[0].count,
            "g" in data,
            made.provider.resource.attributes.get("child"),
        )

    assert in_child(facts) == repr((1, 7.0, 1, False, True))
    counter.add(1)
    data = made.metrics()
    assert (data["c"].data_points[0].value, data["h"].data_points[0].sum, data["g"].data_points[0].value) == (101, 5, 1)


def test_a_fork_waits_for_a_first_collection_that_may_import_something() -> None:
    """A module that a thread imports at the moment of a fork stays locked in the child; what needs it there hangs."""
    made = Setup()
    inside, imported = threading.Event(), threading.Event()

    def imports(_: CallbackOptions) -> list[Observation]:
        inside.set()
        time.sleep(0.05)
        imported.set()
        return [Observation(4)]

    made.meter.create_observable_gauge("g", [imports])
    thread = threading.Thread(target=made.reader.collect)
    thread.start()
    inside.wait(30)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if imported.is_set() else 1)
    thread.join(30)
    _, status = os.waitpid(pid, 0)
    assert status == 0


def test_a_fork_while_a_collection_runs_leaves_the_child_able_to_collect() -> None:
    """Locks that a vanished thread held are new in the child."""
    made = Setup()
    inside, go = threading.Event(), threading.Event()

    def slow(_: CallbackOptions) -> list[Observation]:
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            go.wait(30)
        return [Observation(4)]

    made.meter.create_observable_gauge("g", [slow])
    made.reader.collect()  # a fork waits for the first one, which imports
    thread = threading.Thread(target=made.reader.collect)
    thread.start()
    inside.wait(30)

    def names() -> object:
        fresh = InMemoryMetricReader()
        made.provider.add_metric_reader(fresh)
        made.meter.create_counter("new").add(1)
        return sorted(made.metrics(fresh))

    found = in_child(names)
    go.set()
    thread.join(30)
    assert found == "['g', 'new']"


def test_after_shutdown_meters_do_nothing_and_readers_are_shut_down_once() -> None:
    """A provider that was shut down gives no-op meters, and a second shutdown changes nothing."""
    ends: list[float] = []

    class Reader(InMemoryMetricReader):
        def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
            ends.append(timeout_millis)
            raise RuntimeError("a reader that fails")

    made = Setup(Reader())
    made.provider.shutdown(500)
    made.provider.shutdown(500)
    assert len(ends) == 1
    assert ends[0] <= 500
    assert isinstance(made.provider.get_meter("x"), api.NoOpMeter)


def test_a_flush_reports_whether_every_reader_managed() -> None:
    """One reader that raises makes the result false and does not stop the others."""

    class Broken(InMemoryMetricReader):
        def force_flush(self, timeout_millis: float = 10_000) -> bool:
            raise RuntimeError("no")

    made = Setup()
    assert made.provider.force_flush() is True
    made.provider.add_metric_reader(Broken())
    assert made.provider.force_flush() is False


def test_upstreams_periodic_reader_exports_what_was_measured() -> None:
    """`PeriodicExportingMetricReader` works unchanged: its flush exports, its end exports once more."""
    exported: list[float] = []

    class Exporter(MetricExporter):
        def export(self, metrics_data: Any, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
            exported.append(metrics_data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0].value)
            return MetricExportResult.SUCCESS

        def force_flush(self, timeout_millis: float = 10_000) -> bool:
            return True

        def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
            exported.append(-1)

    made = Setup()
    made.provider.add_metric_reader(PeriodicExportingMetricReader(Exporter(), export_interval_millis=3_600_000))
    counter = made.meter.create_counter("c")
    counter.add(1)
    assert made.provider.force_flush()
    counter.add(1)
    made.provider.shutdown()
    assert exported == [1, 2, -1]


def test_upstreams_prometheus_reader_shows_what_was_measured() -> None:
    """`PrometheusMetricReader` works unchanged."""
    registry = CollectorRegistry()
    made = Setup()
    made.provider.add_metric_reader(PrometheusMetricReader(registry=registry, scope_info_enabled=False))
    made.meter.create_counter("c").add(3, {"a": "b"})
    made.meter.create_histogram("h").record(3)
    text = generate_latest(registry).decode()
    assert 'c_total{a="b"} 3.0' in text
    assert "h_count 1.0" in text
