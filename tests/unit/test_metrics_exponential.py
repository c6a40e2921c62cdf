"""Exponential histograms: their buckets against arithmetic, and what a process that dies at any write leaves."""

from __future__ import annotations

from fractions import Fraction
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from otel_distro.guard import Guard
from otel_distro.metrics import LeanMeterProvider
from otel_distro.metrics.cells import Block
from otel_distro.metrics.exponential import Buckets, ExponentialSeries, bucket_index, decode, size

values = st.one_of(st.floats(1e-9, 1e9), st.floats(-1e9, -1e-9), st.just(0.0), st.floats(1e-300, 1e300))


class Recorder:
    """Cells that remember every state they were in."""

    def __init__(self, count: int) -> None:
        self.cells: list[float] = [0.0] * count
        self.states: list[list[float]] = []

    def __getitem__(self, index: Any) -> Any:
        return self.cells[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.cells[index] = list(value) if isinstance(index, slice) else float(value)
        self.states.append(list(self.cells))


def series(cells: Any, max_size: int) -> ExponentialSeries:
    made = ExponentialSeries(None, {}, -inf, max_size, 20)  # type: ignore[arg-type]
    made.bind(Block(cells, 0), 0, None)
    return made


@given(value=st.floats(1e-300, 1e300), scale=st.integers(-10, 0))
def test_a_value_lies_within_its_bucket_at_low_scales(value: float, scale: int) -> None:
    """`base**index < value <= base**(index + 1)`, in exact arithmetic."""
    index = bucket_index(value, scale)
    power = 1 << -scale
    assert Fraction(2) ** (index * power) < Fraction(value) <= Fraction(2) ** ((index + 1) * power)


@pytest.mark.parametrize("scale", range(-10, 21))
def test_powers_of_two_close_their_bucket(scale: int) -> None:
    """An exact power of the base belongs to the bucket that it is the upper bound of."""
    step = 1 << max(0, -scale)
    for exponent in (-4, -1, 0, 1, 5):
        index = bucket_index(2.0 ** (exponent * step), scale) if abs(exponent * step) < 1000 else None
        if index is not None:
            assert index + 1 == (exponent << max(0, scale))


@given(program=st.lists(values, min_size=1, max_size=40), max_size=st.sampled_from([2, 3, 20, 160]))
def test_every_measurement_is_in_the_bucket_of_its_scale(program: list[float], max_size: int) -> None:
    """After any program the buckets are those of the values at the final scale, and fit into `max_size`."""
    made = series(memoryview(bytearray(size(max_size) * 8)).cast("d"), max_size)
    for value in program:
        made.measure(value)
    got = made.value()
    for side, sign in ((got.positive, 1), (got.negative, -1)):
        wanted: dict[int, int] = {}
        for value in program:
            if value * sign > 0:
                index = bucket_index(abs(value), 20) >> (20 - got.scale)
                wanted[index] = wanted.get(index, 0) + 1
        assert {side.offset + i: c for i, c in enumerate(side.counts) if c} == wanted
        assert len(side.counts) <= max_size
    assert got.count == len(program)
    assert got.zeros == program.count(0.0)


@given(program=st.lists(values, min_size=1, max_size=12), max_size=st.sampled_from([2, 4, 20]))
def test_a_process_that_dies_at_any_write_leaves_what_it_had_counted(program: list[float], max_size: int) -> None:
    """In every state the cells were ever in, the counts are those before or after the measurement in progress."""
    recorder = Recorder(size(max_size))
    made = series(recorder, max_size)
    for done, value in enumerate(program):
        recorder.states.clear()
        made.measure(value)
        assert recorder.states
        for state in recorder.states:
            assert decode(state, 0, max_size).count in (done, done + 1)


@given(one=st.lists(values, max_size=20), two=st.lists(values, max_size=20), max_size=st.sampled_from([2, 20, 160]))
def test_merging_two_is_counting_both(one: list[float], two: list[float], max_size: int) -> None:
    """The merge of two processes' histograms is that of all values, at a scale no finer than both."""

    def counted(program: list[float]) -> Any:
        made = series(memoryview(bytearray(size(max_size) * 8)).cast("d"), max_size)
        for value in program:
            made.measure(value)
        return made.value()

    merged, whole = counted(one).combined(counted(two), max_size), counted([*one, *two])
    scale = min(merged.scale, whole.scale)
    assert merged.count == whole.count
    for side in ("positive", "negative"):
        mine, its = getattr(merged, side), getattr(whole, side)
        assert mine.at_scale(merged.scale - scale).plus(Buckets()) == its.at_scale(whole.scale - scale).plus(Buckets())


def test_cumulative_collections_go_on_after_zeros_and_new_signs() -> None:
    """Collections between zeros, positive and negative values count on (upstream raises there)."""
    reader = InMemoryMetricReader()
    view = View(instrument_name="u", aggregation=ExponentialBucketHistogramAggregation(max_size=2))
    provider = LeanMeterProvider(resource=Resource({}), guard=Guard(), readers=[reader], views=[view])
    instrument = provider.get_meter("m").create_up_down_counter("u")
    counts = []
    for value in (0, 5.0, -2.0, 0, 1e9):
        instrument.add(value)
        data = reader.get_metrics_data()
        assert data is not None
        counts.append(data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0].count)  # type: ignore[union-attr]
    assert counts == [1, 2, 3, 4, 5]


def test_values_far_apart_are_merged_without_the_buckets_between() -> None:
    """One process saw the smallest values, another the largest: the merge is small, and exact."""
    far = []
    for value in (1e-300, 1e300):
        made = series(memoryview(bytearray(size(20) * 8)).cast("d"), 20)
        made.measure(value)
        far.append(made.value())
    merged = far[0].combined(far[1], 20)
    assert merged.count == 2
    assert len(merged.positive.counts) <= 20


def test_a_number_that_cannot_be_added_is_not_counted() -> None:
    """Count and sum are of the same measurements, also where a text was among them."""
    made = series(memoryview(bytearray(size(20) * 8)).cast("d"), 20)
    made.measure(1.5)
    with pytest.raises(TypeError):
        made.measure("2")  # type: ignore[arg-type]
    got = made.value()
    assert (got.count, got.sum) == (1, 1.5)
