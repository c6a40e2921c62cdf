"""Measurements that have waited are counted as each would have been, and are there for whoever reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, time_ns
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import Histogram
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import DropAggregation, ExponentialBucketHistogramAggregation, View
from opentelemetry.trace import SpanKind

from otel_distro.instrumentation.binding import histogram_series
from otel_distro.ledger import TOGETHER, Ledger
from otel_distro.metrics.source import LocalSource
from otel_distro.prometheus import Renderer
from tests.asgi_rig import Rig, get, one_route, rigged
from tests.metrics_group_rig import Process
from tests.metrics_rig import Setup
from tests.recording import Recording

_BOUNDS = (0.0, 0.25, 0.5, 1.0, 8.0)
_NAME = "http.server.request.duration"
# sums of such are exact in any order
_SECONDS = st.integers(0, 10_240).map(lambda number: number / 1024)


def _series(views: Sequence[View] = (), *, also: bool = False) -> tuple[Setup, Any]:
    """A series whose measurements may wait; with one that another reader has of it."""
    setup = Setup(views=views)
    setup.provider.settle_before_reading(lambda: None)
    made: Any = setup.meter.create_histogram("h", explicit_bucket_boundaries_advisory=_BOUNDS)
    series = made.series({"a": 1, "b": 2})
    if also:
        other = ExponentialBucketHistogramAggregation()
        setup.provider.add_metric_reader(InMemoryMetricReader(preferred_aggregation={Histogram: other}))
        series = made.series({"a": 1, "b": 2})
        assert len(series.also) == 1
    return setup, series


def _ids(index: int) -> tuple[int, int]:
    return 1 << 64 | index + 1, index + 1


def _kept(series: Any) -> list[Any]:
    """What is kept of measurements, but for when it was."""
    kept = [None if each is None else (each.value, each.trace_id, each.span_id) for each in series._reservoir.kept]
    return [series.value(), series.extremes(), kept, *[_value(other) for other in series.also]]


def _value(series: Any) -> Any:
    return [*series._cells[series._at : series._at + 40]], series.extremes()


@given(
    stretches=st.lists(st.lists(_SECONDS, min_size=1, max_size=12), max_size=4),
    due=st.lists(st.booleans(), min_size=6, max_size=6),
    also=st.booleans(),
)
def test_many_are_counted_as_one_after_another(stretches: list[list[float]], due: list[bool], also: bool) -> None:
    """Sums, buckets, extremes and exemplars are those that the measurements have by themselves."""
    kept = []
    moments = [perf_counter() - 0.25 + number / 1_000 for number in range(12)]
    for together in (True, False):
        _setup, series = _series(also=also)
        series._reservoir.due[:] = [0.0 if each else perf_counter() + 3_600 for each in due]
        number = 0
        for seconds in stretches:
            first = number
            number += len(seconds)
            if together:
                series.took_all(seconds, moments[: len(seconds)], lambda index, first=first: _ids(first + index))
            else:
                for index, value in enumerate(seconds):
                    series.took(value, moments[index], _ids(first + index))
        kept.append(_kept(series))
    assert kept[0] == kept[1]


@given(seconds=st.lists(st.floats(0, 1e9), min_size=4, max_size=70))
def test_no_measurement_is_lost_for_its_value(seconds: list[float]) -> None:
    """Whatever the durations are, each is in its bucket, and sum and extremes are theirs."""
    _setup, series = _series()
    series.took_all(seconds, [0.0] * len(seconds), _ids)
    total, *buckets = series.value()
    edges = [*_BOUNDS, float("inf")]
    assert buckets == [
        sum(low < value <= high for value in seconds) for low, high in zip([-1.0, *edges], edges, strict=False)
    ]
    assert total == pytest.approx(sum(seconds))
    assert series.extremes() == (min(seconds), max(seconds))


_KINDS: dict[str, Callable[[], tuple[Setup, Any]]] = {
    "plain": _series,
    "for two readers": lambda: _series(also=True),
    "exponential": lambda: _series([View(instrument_name="h", aggregation=ExponentialBucketHistogramAggregation())]),
    "less attributes": lambda: _series([View(instrument_name="h", attribute_keys={"a"})]),
    "two views": lambda: _series([View(instrument_name="h", name="x"), View(instrument_name="h", name="y")]),
}


@pytest.mark.parametrize("number", [1, TOGETHER])
@pytest.mark.parametrize("kind", _KINDS)
def test_an_exemplar_has_the_time_of_its_measurement(kind: str, number: int) -> None:
    """However long a measurement has waited, and among how many: its exemplar says when it was made."""
    _setup, series = _KINDS[kind]()
    waited = 20.0
    series.took_all([0.3] * number, [perf_counter() - waited] * number, _ids)
    found = [each for reservoir in _reservoirs(series) for each in reservoir.kept if each is not None]
    assert found
    for exemplar in found:
        assert waited / 2 < (time_ns() - exemplar.time_unix_nano) / 1e9 < waited * 2
        assert (exemplar.trace_id, exemplar.span_id) == _ids(0)


def test_a_measurement_that_is_due_is_not_hidden_by_an_earlier_one() -> None:
    """Of many that were made over some time, the first that an exemplar is due for becomes one."""
    _setup, series = _series()
    now = perf_counter()
    series._reservoir.due[:] = [now - 10.05] * 6
    series.took_all([0.3] * 6, [now - 10.2 + number / 10 for number in range(6)], _ids)
    assert [each.span_id for each in series._reservoir.kept if each is not None] == [3]


def _reservoirs(series: Any) -> list[Any]:
    parts = [part for part, _ in getattr(series, "_parts", ())] or [series]
    return [each._reservoir for part in parts for each in (part, *part.also)]


@pytest.mark.parametrize("kind", _KINDS)
def test_series_of_every_kind_may_wait(kind: str) -> None:
    """Views and readers decide how something is counted, not whether requests can be: every series can be asked."""
    _setup, series = _KINDS[kind]()
    assert series.waits is True
    series.took_all([0.5] * 5, [perf_counter()] * 5, _ids)


def test_a_series_that_is_dropped_may_wait_as_well() -> None:
    """Where a view drops a histogram, what waits for it is not counted, and nothing else is lost."""
    _setup, series = _series([View(instrument_name="h", aggregation=DropAggregation())])
    assert series.waits in {True, False}
    series.took_all([0.5] * 5, [perf_counter()] * 5, _ids)


@pytest.mark.parametrize(
    "view",
    [
        View(instrument_name=_NAME, attribute_keys={"http.route"}),
        View(instrument_name=_NAME, aggregation=DropAggregation()),
    ],
)
def test_a_view_of_the_users_costs_no_span(view: View) -> None:
    """With a view that takes attributes, or all of a server's histogram, away, requests have their spans as ever."""
    from otel_distro.metrics import LeanMeterProvider

    recording = Recording(brief=True)
    reader = InMemoryMetricReader()
    views = LeanMeterProvider(
        resource=recording.meter_provider.resource, guard=recording.guard, readers=[reader], views=[view]
    )
    views.settle_before_reading(lambda: None)
    histogram = views.get_meter("t").create_histogram(_NAME)
    series = histogram_series(histogram, {"http.route": "/p", "other": 1})
    briefs = recording.tracer_provider.get_tracer("t").briefs("q", SpanKind.CLIENT, {}).measure(series)
    briefs.ended(None, None, 1, 2, 0.5, perf_counter())
    assert recording.one().name == "q"


def test_series_that_others_read_do_not_wait(tmp_path: Path) -> None:
    """Another process reads shared cells at any moment: what they tell is told at once, whoever settles ledgers."""
    process = Process(tmp_path)
    process.provider.settle_before_reading(lambda: None)
    meter = process.provider.get_meter("scope")
    shared: Any = meter.create_histogram("shared")
    assert shared.series({}).waits is False
    process.die()
    process.close()


def test_where_nobody_settles_nothing_waits() -> None:
    """Without a ledger that is settled before a reading, measurements are told at once."""
    made: Any = Setup().meter.create_histogram("h")
    assert made.series({}).waits is False


# --- whoever reads ---------------------------------------------------------------------------------------------------


def _ledger(rig: Rig) -> Ledger:
    processors: Any = rig.tracer_provider._active_span_processor
    found: Ledger = processors.brief.ledger
    return found


def _ask(rig: Rig, times: int) -> None:
    app = one_route()
    for number in range(times):
        get(app, f"/p/{number}")
    assert len(_ledger(rig)) == times - 1, "all but the first wait"


def test_a_reader_collects_what_waits() -> None:
    """A collection has every request that has ended, in time and in bytes."""
    with rigged() as rig:
        for times in (7, 5):
            _ledger(rig).mark = 1
            _ask(rig, times)
            points = [*rig.points(_NAME), *rig.points("http.server.response.body.size")]
            assert len(_ledger(rig)) == 0
        assert [point.count for point in points if point.count] == [12] * len(points)
        assert points


def test_a_scrape_has_what_waits() -> None:
    """A Prometheus of this process alone sees every request that has ended."""
    with rigged() as rig:
        provider: Any = rig.meter_provider
        _ask(rig, 7)
        renderer = Renderer(rig.guard, lambda: None, scope_labels=False)
        text = renderer.render(LocalSource(provider).snapshot(exemplars=False), openmetrics=False).decode()
        (count,) = [line for line in text.splitlines() if line.startswith("http_server_request_duration_seconds_count")]
        assert count.rpartition(" ")[2] in {"7", "7.0"}


class _Exported(MetricExporter):
    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> MetricExportResult:
        self.counts += [
            getattr(point, "count", 0)
            for resource in metrics_data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == _NAME
            for point in metric.data.data_points
        ]
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        pass


@pytest.mark.parametrize("traces_first", [True, False])
def test_the_last_export_has_what_waits(traces_first: bool) -> None:
    """What has ended before the end is in the metrics that a shutdown exports, whichever provider ends first."""
    exported = _Exported()
    with rigged() as rig:
        provider: Any = rig.meter_provider
        provider.add_metric_reader(PeriodicExportingMetricReader(exported, export_interval_millis=3_600_000))
        _ask(rig, 7)
        if traces_first:
            rig.tracer_provider.shutdown()
        provider.shutdown()
    assert exported.counts == [7]
