"""The metrics core: instruments, series and limits, by what a reader sees."""

from __future__ import annotations

import struct
import sys
import threading
import warnings
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from http import HTTPStatus
from math import inf
from typing import Any

import pytest
from opentelemetry import metrics as api
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.view import (
    Aggregation,
    DropAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)

from otel_distro.metrics import LocalStore, unsupported
from otel_distro.metrics.cells import Arena
from tests.metrics_rig import Setup


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


class Colour(str, Enum):  # noqa: UP042 - StrEnum is not what most are
    """Its text is not its value."""

    RED = "red"


class Part(float):
    """A number of one's own."""


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("plain", "other"),
    [(404, HTTPStatus.NOT_FOUND), ("red", Colour.RED), (0.5, Part(0.5)), (("red", 404), [Colour.RED, HTTPStatus(404)])],
)
def test_a_member_of_an_enumeration_is_the_series_of_its_value(plain: Any, other: Any, turned: bool) -> None:
    """What is exported with the same attributes is one series, whichever was measured first."""
    made = Setup()
    counter = made.meter.create_counter("c")
    for _ in range(2):
        for value in (other, plain) if turned else (plain, other):
            counter.add(1, {"k": value})
    [point] = made.metrics()["c"].data_points
    exported = point.attributes["k"]
    assert (point.value, exported, type(exported)) == (4, plain, type(plain))
    if isinstance(exported, tuple):
        assert [type(each) for each in exported] == [str, int]


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


@pytest.mark.parametrize("number", [Decimal("1.5"), Fraction(3, 2)])
def test_decimals_and_fractions_are_numbers(number: Any) -> None:
    """A price is measured as it comes, by every kind of instrument."""
    made = Setup()
    counter, up_down = made.meter.create_counter("c"), made.meter.create_up_down_counter("u")
    histogram, gauge = made.meter.create_histogram("h"), made.meter.create_gauge("g")
    made.meter.create_observable_gauge("o", [lambda _: [Observation(number)]])
    for _ in range(2):
        for measure in (counter.add, up_down.add, histogram.record, gauge.set):
            measure(number)
    metrics = made.metrics()
    assert [metrics[name].data_points[0].value for name in "cugo"] == [3.0, 3.0, 1.5, 1.5]
    assert [(point.count, point.sum) for point in metrics["h"].data_points] == [(2, 3.0)]
    assert not made.guard.failures


class Single(float):
    """Compares as NumPy's `float32` does: in its own precision, in which the largest double is infinite."""

    def __le__(self, other: float) -> bool:
        return float(self) <= _single(other)

    def __ge__(self, other: float) -> bool:
        return float(self) >= _single(other)


def _single(number: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", number))[0])
    except OverflowError:
        warnings.warn("overflow encountered in cast", RuntimeWarning, stacklevel=2)
        return inf if number > 0 else -inf


@pytest.mark.parametrize("exponential", [False, True])
def test_a_number_of_less_precision_is_measured_in_silence_and_its_infinity_is_none(exponential: bool) -> None:
    """NumPy's scalars are numbers as any others: no warning reaches the application, and an infinity counts nothing."""
    views = [View(instrument_name="h", aggregation=ExponentialBucketHistogramAggregation())] if exponential else ()
    made = Setup(views=views)
    counter, up_down = made.meter.create_counter("c"), made.meter.create_up_down_counter("u")
    histogram, gauge = made.meter.create_histogram("h"), made.meter.create_gauge("g")
    bound = histogram.series({})
    seen = [Single(2.5), Single(inf), Single(-inf)]
    made.meter.create_observable_gauge("o", [lambda _: [Observation(seen[0]), Observation(seen[1])]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in seen:
            for measure in (counter.add, up_down.add, histogram.record, gauge.set, bound.measure):
                measure(number)
        metrics = made.metrics()
    assert [metrics[name].data_points[0].value for name in "cugo"] == [2.5, 2.5, 2.5, 2.5]
    assert [(point.count, point.sum) for point in metrics["h"].data_points] == [(2, 5.0)]
    assert not made.guard.failures
    assert len(made.lines) == 5


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
    given = {"l": ["a", 1], "m": {"x": [1]}, "b": b"x", "n": None, "p": Decimal(1), "s": Silent(), "": 1, 5: 6, 0: 1}
    made.meter.create_counter("c").add(1, given)  # type: ignore[arg-type]
    [point] = made.metrics()["c"].data_points
    assert point.attributes == {"l": ("a", 1), "m": {"x": (1,)}, "b": b"x", "n": None, "p": "1", "s": None, "5": 6}


def test_a_value_that_holds_itself_costs_its_depths_and_no_measurement() -> None:
    """Below 64 levels nothing is looked at, as on spans; objects without a text of their own make no series each."""
    made = Setup()
    counter = made.meter.create_counter("c")
    endless: list[Any] = []
    endless.append(endless)
    counter.add(1, {"k": endless})
    for _ in range(2):
        counter.add(10, {"k": object()})
    assert sorted(point.value for point in made.metrics()["c"].data_points) == [1, 20]


def test_keys_that_are_no_text_are_told_apart() -> None:
    """They are recorded under their text as on spans, said once, also where they are one key to Python."""
    made = Setup()
    counter = made.meter.create_counter("c")
    keys: list[Any] = [5, 1, True, 1.0, 5, 1, "1"]
    for key in keys:
        counter.add(1, {key: "v"})
    assert made.values("c") == {(("5", "v"),): 2, (("1", "v"),): 3, (("True", "v"),): 1, (("1.0", "v"),): 1}
    assert len(made.lines) == 1


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


def test_what_there_is_no_room_for_costs_the_same_whatever_the_limit() -> None:
    """Who is to blame is looked for once; every further attribute set is refused without a walk over all series."""

    def calls(limit: int) -> int:
        made, seen = Setup(cardinality_limit=limit), 0

        def count(*_: object) -> None:
            nonlocal seen
            seen += 1

        counter = made.meter.create_counter("c")
        for number in range(limit + 1):
            counter.add(1, {"n": str(number)})
        sys.setprofile(count)
        counter.add(1, {"n": "new"})
        sys.setprofile(None)
        return seen

    assert calls(500) == calls(5)


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


def test_this_interpreter_can_keep_cells() -> None:
    """With the interpreter lock there is no reason against cells; without it there is one."""
    enabled = getattr(sys, "_is_gil_enabled", lambda: True)()
    assert (unsupported() is None) == enabled


def test_cells_come_in_few_segments_however_many_they_are() -> None:
    """Later segments are larger, in multiples of the first, and no piece lies in two of them or on another."""
    made: list[int] = []

    def segment(size: int, _: int) -> memoryview:
        made.append(size)
        return memoryview(bytearray(size))

    arena = Arena(segment, 1024)
    ends = 0
    for _ in range(5000):
        found, start, at = arena.take(136)
        assert start + 136 <= len(found)
        assert at >= ends
        ends = at + 136
    assert len(made) < 40
    assert all(size % 1024 == 0 for size in made)
    assert sum(made) < 1.3 * 5000 * 136
