"""The same program of measurements through our meter provider and upstream's gives the same `MetricsData`.

Intended differences, each normalised away below and tested on its own in `tests/unit/test_metrics_*.py`:

- numbers: a stream whose values were all integers gives integers, one that saw a float gives floats throughout
  (upstream decides per point); bounds and extremes are floats. Python compares them as equal: nothing is normalised.
- a delta interval in which a series did not change gives no point, also when zeros were added (upstream gives a point
  of 0, which says nothing and costs bytes); a histogram interval with zeros only does give one.
- exponential buckets are trimmed to the filled ones, and a scale once given up is not taken up again (upstream keeps
  the size its arrays grew to): compared at the lower of both scales. Cumulative programs collect once: a second
  collection by upstream raises "Incorrect merge scale" when a sign or nothing but zeros was measured before.
- an exemplar is the first eligible measurement of a second, not a random or the last one: exemplars are tested apart.
- start times differ by what the two programs took; their order is tested apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource

from otel_distro.guard import Guard
from otel_distro.metrics import LeanMeterProvider
from otel_distro.metrics.exponential import Buckets

DELTA = AggregationTemporality.DELTA
RESOURCE = Resource({"service.name": "differential"})
ALL_DELTA = {Counter: DELTA, UpDownCounter: DELTA, Histogram: DELTA, ObservableCounter: DELTA}

attribute_values = st.one_of(
    st.sampled_from(["a", "b", "", "ü"]),
    st.booleans(),
    st.integers(-1, 3),
    st.sampled_from([0.0, 1.0, 2.5]),
    st.lists(st.sampled_from(["x", "y"]), max_size=2),
)
attributes = st.one_of(st.none(), st.dictionaries(st.sampled_from(["k", "l", "route"]), attribute_values, max_size=3))
amounts = st.one_of(
    st.integers(0, 20000),
    st.floats(0, 1e6, allow_nan=False).filter(lambda x: x == 0 or x > 1e-6),
    st.sampled_from([-1, -0.5, float("inf"), float("nan"), 5, 10.0]),
)
step = st.one_of(
    st.tuples(st.sampled_from(["counter", "updown", "histogram", "advised", "gauge"]), amounts, attributes),
    st.tuples(st.just("observe"), st.integers(0, 50), attributes),
    st.tuples(st.just("collect"), st.none(), st.none()),
)
programs = st.lists(step, min_size=1, max_size=40).map(lambda steps: [*steps, ("collect", None, None)])

VIEWS: dict[str, list[View]] = {
    "none": [],
    "renamed and filtered": [
        View(instrument_name="counter", name="renamed", description="seen", attribute_keys={"k"}),
        View(instrument_name="*", attribute_keys={"k", "l"}),
    ],
    "other aggregations": [
        View(instrument_name="advised", aggregation=ExplicitBucketHistogramAggregation([1, 100])),
        View(instrument_name="histogram", aggregation=SumAggregation()),
        View(instrument_name="updown", aggregation=LastValueAggregation()),
        View(instrument_name="observed", aggregation=DropAggregation()),
    ],
    "two views": [
        View(instrument_type=Histogram, instrument_name="histogram", name="one", attribute_keys={"route"}),
        View(instrument_type=Histogram, instrument_name="histogram", name="two", attribute_keys={"k"}),
        View(instrument_name="gauge", attribute_keys=set()),
    ],
}


def run(make: Callable[[list[Any]], MeterProvider], program: list[Any], readers: list[Any]) -> list[Any]:
    """What each collection of each reader gave."""
    meter = make(readers).get_meter("scope", "1.0", "https://example.test/schema", {"team": "a"})
    counter = meter.create_counter("counter", "By", "counts")
    updown = meter.create_up_down_counter("updown")
    histogram = meter.create_histogram("histogram", "ms")
    advised = meter.create_histogram("Advised", "s", explicit_bucket_boundaries_advisory=[0.1, 5, 10])
    gauge = meter.create_gauge("gauge", "1")
    seen: list[Observation] = []

    def callback(_: CallbackOptions) -> list[Observation]:
        return list(seen)

    meter.create_observable_counter("observed", [callback])
    meter.create_observable_gauge("level", [callback])
    calls: dict[str, Callable[..., None]] = {
        "counter": counter.add,
        "updown": updown.add,
        "histogram": histogram.record,
        "advised": advised.record,
        "gauge": gauge.set,
        "observe": lambda amount, attributes: seen.append(Observation(amount, attributes)),
    }
    collected = []
    for name, amount, attributes in program:
        if name == "collect":
            collected += [normal(reader.get_metrics_data()) for reader in readers]
            seen.clear()
        else:
            calls[name](amount, dict(attributes) if attributes else attributes)
    return collected


def normal(data: Any) -> Any:
    """Comparable: without times, without delta points that say nothing, scopes and metrics in order."""
    if data is None:
        return {}
    metrics = {}
    for scope_metrics in data.resource_metrics[0].scope_metrics:
        scope = scope_metrics.scope
        for metric in scope_metrics.metrics:
            points = [point(p, metric.data) for p in metric.data.data_points]
            points = [p for p in points if p is not None]
            if points:
                kind = type(metric.data).__name__
                temporality = getattr(metric.data, "aggregation_temporality", None)
                facts = (kind, temporality, getattr(metric.data, "is_monotonic", None), metric.unit, metric.description)
                metrics[scope.name, scope.version, scope_metrics.schema_url, metric.name] = (
                    facts,
                    sorted(points, key=repr),
                )
    return metrics


def point(p: Any, data: Any) -> Any:
    labels = json.dumps(dict(p.attributes), sort_keys=True)
    if hasattr(p, "bucket_counts"):
        return labels, p.count, round(p.sum, 6), tuple(p.bucket_counts), tuple(p.explicit_bounds), p.min, p.max
    delta = getattr(data, "aggregation_temporality", None) is DELTA
    return None if delta and p.value == 0 else (labels, round(float(p.value), 6))


def lean(views: list[View]) -> Callable[[list[Any]], MeterProvider]:
    guard = Guard(output=lambda level, text: None)
    return lambda readers: LeanMeterProvider(
        resource=RESOURCE, guard=guard, exemplar_filter="always_off", views=views, readers=readers
    )


def upstream(views: list[View]) -> Callable[[list[Any]], MeterProvider]:
    return lambda readers: MeterProvider(
        readers, RESOURCE, AlwaysOffExemplarFilter(), shutdown_on_exit=False, views=views
    )


@given(program=programs, views=st.sampled_from(list(VIEWS)))
def test_any_program_gives_what_upstream_gives(program: list[Any], views: str) -> None:
    """Two readers, cumulative and delta, get the same metrics as from upstream, under every set of views."""

    def readers() -> list[Any]:
        return [InMemoryMetricReader(), InMemoryMetricReader(ALL_DELTA)]

    assert run(lean(VIEWS[views]), program, readers()) == run(upstream(VIEWS[views]), program, readers())


signed = st.one_of(st.floats(1e-6, 1e6), st.floats(-1e6, -1e-6), st.just(0.0), st.integers(-5, 5))


@given(
    values=st.lists(st.one_of(signed, st.none()), min_size=1, max_size=60),
    max_size=st.sampled_from([2, 4, 20, 160]),
    delta=st.booleans(),
)
def test_exponential_histograms_count_what_upstream_counts(
    values: list[float | None], max_size: int, delta: bool
) -> None:
    """At the lower of both scales the buckets, zero counts and sums of every collection agree."""
    if not delta:
        values = [value for value in values if value is not None]
    ours = exponential(lean, values, max_size, delta)
    theirs = exponential(upstream, values, max_size, delta)
    assert len(ours) == len(theirs)
    for mine, its in zip(ours, theirs, strict=True):
        assert (mine is None) == (its is None)
        if mine is None or its is None:
            continue
        assert (mine.count, mine.zero_count, mine.min, mine.max) == (its.count, its.zero_count, its.min, its.max)
        assert abs(mine.sum - its.sum) <= 1e-9 * max(1, abs(its.sum))
        if mine.count == mine.zero_count:
            continue  # upstream reports scale 0 while there are only zeros
        scale = min(mine.scale, its.scale)
        for side in ("positive", "negative"):
            assert at(mine, side, scale) == at(its, side, scale)


def exponential(
    make: Callable[[list[View]], Callable[[list[Any]], MeterProvider]],
    values: list[float | None],
    max_size: int,
    delta: bool,
) -> list[Any]:
    # an up-down counter, because histogram instruments take no negative values
    view = View(instrument_name="u", aggregation=ExponentialBucketHistogramAggregation(max_size=max_size))
    reader = InMemoryMetricReader(ALL_DELTA if delta else {})
    instrument = make([view])([reader]).get_meter("m").create_up_down_counter("u")
    points = []
    for value in [*values, None]:
        if value is not None:
            instrument.add(value)
            continue
        data = reader.get_metrics_data()
        points.append(data and data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0])
    return points


def at(p: Any, side: str, scale: int) -> Buckets:
    buckets = getattr(p, side)
    return Buckets().plus(Buckets(buckets.offset, tuple(buckets.bucket_counts)).at_scale(p.scale - scale))
