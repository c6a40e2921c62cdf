"""The metrics core: instruments, series, limits, exemplars and forks, by what a reader sees."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from decimal import Decimal
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
    MeterProvider,
    ObservableCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import (
    Aggregation,
    DropAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from otel_distro.guard import Guard
from otel_distro.metrics import LeanMeterProvider, LocalStore, unsupported

DELTA = AggregationTemporality.DELTA


class Setup:
    """A provider with one reader and the lines its guard said."""

    def __init__(self, reader: InMemoryMetricReader | None = None, **options: Any) -> None:
        self.lines: list[str] = []
        self.guard = Guard(output=lambda level, text: self.lines.append(text))
        self.reader = reader or InMemoryMetricReader()
        self.provider = LeanMeterProvider(
            resource=Resource({"service.name": "s"}), guard=self.guard, readers=[self.reader], **options
        )
        self.meter = self.provider.get_meter("scope")

    def metrics(self, reader: InMemoryMetricReader | None = None) -> dict[str, Any]:
        data = (reader or self.reader).get_metrics_data()
        if data is None:
            return {}
        return {m.name: m.data for s in data.resource_metrics[0].scope_metrics for m in s.metrics}

    def values(self, name: str) -> dict[Any, Any]:
        data = self.metrics().get(name)
        points = data.data_points if data else ()
        return {tuple(sorted(p.attributes.items(), key=repr)): getattr(p, "value", None) for p in points}


def span(number: int, *, sampled: bool = True) -> NonRecordingSpan:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else 0)
    return NonRecordingSpan(SpanContext(number << 64 | 1, number, is_remote=False, trace_flags=flags))


def test_the_provider_and_its_instruments_are_upstreams_to_everyone_who_asks() -> None:
    """isinstance answers as for upstream's provider, meter and instruments."""
    made = Setup()
    assert isinstance(made.provider, MeterProvider)
    assert isinstance(made.meter, api.Meter)
    assert isinstance(made.meter.create_counter("a"), Counter)
    assert isinstance(made.meter.create_up_down_counter("b"), UpDownCounter)
    assert isinstance(made.meter.create_histogram("c"), Histogram)
    assert isinstance(made.meter.create_observable_counter("d"), ObservableCounter)
    assert isinstance(made.meter.create_gauge("e"), api._Gauge)


def test_true_one_and_one_point_zero_are_three_series() -> None:
    """Values that Python calls equal are different attributes, whatever was measured first."""
    made = Setup()
    counter = made.meter.create_counter("c")
    for _ in range(2):
        for amount, value in ((1, 1), (10, True), (100, 1.0)):
            counter.add(amount, {"k": value})
    points = made.metrics()["c"].data_points
    assert {(type(p.attributes["k"]), p.value) for p in points} == {(int, 2), (bool, 20), (float, 200)}


def test_the_order_of_attributes_does_not_make_a_series() -> None:
    """The same attributes in another order, and through a bound series, are one series."""
    made = Setup()
    counter = made.meter.create_counter("c")
    counter.add(1, {"a": "x", "b": "y"})
    counter.add(1, {"b": "y", "a": "x"})
    counter.series({"b": "y", "a": "x"}).add(1)
    assert made.values("c") == {(("a", "x"), ("b", "y")): 3}


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("counter", -1),
        ("counter", float("nan")),
        ("histogram", -0.1),
        ("histogram", float("inf")),
        ("gauge", float("nan")),
    ],
)
def test_a_value_that_cannot_be_measured_is_ignored_with_one_line(name: str, bad: float) -> None:
    """Negative and non-finite values change nothing, are said once, and make no series."""
    made = Setup()
    instrument = getattr(made.meter, f"create_{name}")("x")
    measure = getattr(instrument, {"counter": "add", "histogram": "record", "gauge": "set"}[name])
    for _ in range(3):
        measure(bad)
    assert made.metrics() == {}
    instrument.series({}).measure(bad)
    assert len(made.lines) == 1
    assert "x" in made.lines[0]


@pytest.mark.parametrize("amount", ["1", None, object(), b"1", [1]])
def test_an_argument_of_another_type_never_reaches_the_caller(amount: Any) -> None:
    """What is no number is counted at the guard and raises nothing."""
    made = Setup()
    made.meter.create_counter("c").add(amount)
    histogram = made.meter.create_histogram("h")
    histogram.record(1, {})
    histogram.record(amount, {})
    assert made.metrics()["h"].data_points[0].count == 1
    assert len(made.guard.failures) == 2


def test_decimals_and_other_numbers_are_taken_whole_or_not_at_all() -> None:
    """A histogram never counts a value that it cannot add."""
    made = Setup()
    histogram = made.meter.create_histogram("h")
    histogram.record(Decimal("1.5"))  # type: ignore[arg-type]
    histogram.record(Decimal("1.5"))  # type: ignore[arg-type]
    [point] = made.metrics()["h"].data_points
    assert (point.count, point.sum) == (2, 3.0)


@pytest.mark.parametrize("attributes", ["text", 7, [("a", "b")]])
def test_attributes_that_are_no_mapping_are_left_out(attributes: Any) -> None:
    """The measurement is taken without them."""
    made = Setup()
    made.meter.create_counter("c").add(1, attributes)
    assert made.values("c") == {(): 1}


def test_unusual_attribute_values_are_kept_or_become_text() -> None:
    """Lists, maps, bytes and None stay; anything else becomes its text, and an object without text None."""

    class Silent:
        def __str__(self) -> str:
            raise RuntimeError("no")

    made = Setup()
    given = {"l": ["a", 1], "m": {"x": [1]}, "b": b"x", "n": None, "p": Decimal(1), "s": Silent(), "": 1, 5: 6}
    made.meter.create_counter("c").add(1, given)  # type: ignore[arg-type]
    [point] = made.metrics()["c"].data_points
    assert point.attributes == {"l": ("a", 1), "m": {"x": (1,)}, "b": b"x", "n": None, "p": "1", "s": None}


@pytest.mark.parametrize("name", ["3xx.count", "", "a" * 256, "späte", None, "a b"])
def test_an_impossible_name_gives_an_instrument_that_measures_nothing(name: Any) -> None:
    """Creating and using it raises nothing, one line names it, no reader sees it."""
    made = Setup()
    made.meter.create_counter(name).add(1)
    made.meter.create_histogram(name).series({"a": "b"}).record(1)
    made.meter.create_observable_gauge(name, [lambda options: [Observation(1)]])
    assert made.metrics() == {}
    assert len(made.lines) == 1


def test_an_instrument_created_twice_is_one() -> None:
    """The same name (in any case), kind, unit and description give the same instrument, without a warning."""
    made = Setup()
    first = made.meter.create_counter("Requests", "1", "d")
    assert made.meter.create_counter("requests", "1", "d") is first
    assert made.provider.get_meter("scope").create_counter("requests", "1", "d") is first
    assert not made.lines
    assert made.meter.create_counter("requests", "By", "d") is not first
    assert made.meter.create_histogram("requests", "1", "d") is not first  # type: ignore[comparison-overlap]
    assert len(made.lines) == 1


def test_unusable_advised_buckets_are_replaced_by_the_default() -> None:
    """Falling, infinite or non-numeric bounds cost a line, not the histogram."""
    for number, bounds in enumerate(([5, 1], [1, float("inf")], ["a"], 7)):
        made = Setup()
        histogram = made.meter.create_histogram(f"h{number}", explicit_bucket_boundaries_advisory=bounds)  # type: ignore[arg-type]
        histogram.record(3)
        assert len(made.metrics()[f"h{number}"].data_points[0].explicit_bounds) == 15
        assert len(made.lines) == 1


def test_buckets_include_their_upper_bound() -> None:
    """A value equal to a bound is counted in the bucket that it closes."""
    made = Setup()
    histogram = made.meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1, 2])
    for value in (0, 1, 1.5, 2, 2.1, 50):
        histogram.record(value)
    [point] = made.metrics()["h"].data_points
    assert point.bucket_counts == (2, 2, 2)
    assert (point.count, point.min, point.max) == (6, 0, 50)


def test_the_limit_gathers_what_does_not_fit_and_says_the_worst_attribute_once() -> None:
    """Never more series than the limit; nothing is lost; one line names the instrument and the attribute."""
    made = Setup(cardinality_limit=10)
    counter = made.meter.create_counter("orders")
    for number in range(50):
        counter.add(1, {"user": f"u{number}", "kind": "a"})
    values = made.values("orders")
    assert len(values) == 10
    assert values[(("otel.metric.overflow", True),)] == 41
    assert len(made.lines) == 1
    assert "orders" in made.lines[0]
    assert "user" in made.lines[0]
    counter.add(1, {"user": "u0", "kind": "a"})
    assert made.values("orders")[(("kind", "a"), ("user", "u0"))] == 2


def test_a_full_stream_keeps_no_memory_of_what_it_refused() -> None:
    """A hundred thousand overflowing attribute sets leave no trace in the instrument."""
    made = Setup(cardinality_limit=5)
    counter = made.meter.create_counter("c")
    for number in range(100):
        counter.add(1, {"n": str(number)})
    assert len(counter.binder.known) <= 5


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


def test_an_unknown_aggregation_falls_back_with_one_line() -> None:
    """A third party's aggregation class cannot be had; the default one is used and named."""

    class Foreign(Aggregation):
        def _create_aggregation(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError("not called")

    made = Setup(views=[View(instrument_name="c", aggregation=Foreign())])
    made.meter.create_counter("c").add(1)
    assert made.values("c") == {(): 1}
    assert "Foreign" in made.lines[0]


def test_dropped_instruments_cost_no_cells() -> None:
    """A view with DropAggregation allocates nothing."""
    store = LocalStore()
    made = Setup(views=[View(instrument_name="*", aggregation=DropAggregation())], store=store)
    made.meter.create_histogram("h").record(1)
    made.meter.create_observable_gauge("g", [lambda options: [Observation(1)]])
    assert made.metrics() == {}
    assert store.entries() == []


def test_many_threads_lose_nothing() -> None:
    """Eight threads on one series and on series of their own: every addition is there."""
    made = Setup()
    counter, histogram = made.meter.create_counter("c"), made.meter.create_histogram("h")

    def work(number: int) -> None:
        for i in range(5000):
            counter.add(1, {"shared": "yes"})
            counter.add(1, {"n": str(i % 50)})
            histogram.record(i % 7, {"t": str(number)})
            histogram.record(0.5)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(made.values("c").values()) == 80_000
    assert made.values("c")[(("shared", "yes"),)] == 40_000
    points = made.metrics()["h"].data_points
    assert sum(p.count for p in points) == 80_000
    assert sum(p.sum for p in points) == 8 * (sum(i % 7 for i in range(5000)) + 2500)


def test_a_forked_child_starts_at_zero_and_its_parent_goes_on() -> None:
    """Inherited totals are not counted twice; bound series go on to work in both; the child has its own resource."""
    made = Setup(child_resource=lambda parent: parent.merge(Resource({"child": True})))
    counter, histogram = made.meter.create_counter("c"), made.meter.create_histogram("h").series({"a": "b"})
    gauge = made.meter.create_gauge("g")
    counter.add(100)
    histogram.record(5)
    gauge.set(1)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        counter.add(1)
        histogram.record(7)
        data = made.metrics()
        facts = (
            data["c"].data_points[0].value,
            data["h"].data_points[0].sum,
            data["h"].data_points[0].count,
            "g" in data,
            made.provider.resource.attributes.get("child"),
        )
        os.write(write, repr(facts).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == repr((1, 7.0, 1, False, True))
    os.waitpid(pid, 0)
    counter.add(1)
    data = made.metrics()
    assert (data["c"].data_points[0].value, data["h"].data_points[0].sum, data["g"].data_points[0].value) == (101, 5, 1)


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
    thread = threading.Thread(target=made.reader.collect)
    thread.start()
    inside.wait(30)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        fresh = InMemoryMetricReader()
        made.provider.add_metric_reader(fresh)
        made.meter.create_counter("new").add(1)
        os.write(write, repr(sorted(made.metrics(fresh))).encode())
        os._exit(0)
    os.close(write)
    go.set()
    thread.join(30)
    with os.fdopen(read) as pipe:
        assert pipe.read() == "['g', 'new']"
    os.waitpid(pid, 0)


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


def test_this_interpreter_can_keep_cells() -> None:
    """With the interpreter lock there is no reason against cells; without it there is one."""
    enabled = getattr(sys, "_is_gil_enabled", lambda: True)()
    assert (unsupported() is None) == enabled
