"""The private names of upstream's metrics SDK that we rely on do what we rely on."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from opentelemetry.sdk.metrics import (
    AlwaysOnExemplarFilter,
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics import _Gauge as Gauge
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ConsoleMetricExporter,
    InMemoryMetricReader,
    MetricExportResult,
)
from opentelemetry.sdk.metrics.view import (
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource

from otel_distro import _compat_metrics as compat
from otel_distro.metrics.identity import InstrumentKind

CLASSES = {
    "counter": Counter,
    "up_down_counter": UpDownCounter,
    "histogram": Histogram,
    "gauge": Gauge,
    "observable_counter": ObservableCounter,
    "observable_up_down_counter": ObservableUpDownCounter,
    "observable_gauge": ObservableGauge,
}


@pytest.mark.parametrize("kind", [kind.value for kind in InstrumentKind])
def test_a_readers_preferences_can_be_read_for_every_kind(kind: str) -> None:
    """What a reader was told about a public instrument class is what we read for its kind."""
    wanted = SumAggregation()
    reader = InMemoryMetricReader({CLASSES[kind]: AggregationTemporality.DELTA}, {CLASSES[kind]: wanted})
    assert compat.reader_temporality(reader, kind) is AggregationTemporality.DELTA
    assert compat.reader_aggregation(reader, kind) is wanted
    others = [other for other in CLASSES if other != kind]
    assert {compat.reader_temporality(reader, other) for other in others} == {AggregationTemporality.CUMULATIVE}


def test_an_attached_reader_calls_the_callback_with_itself_and_its_timeout() -> None:
    """`collect()` reaches our callback until the reader is detached."""
    calls: list[tuple[Any, float]] = []

    def collect(reader: Any, timeout_millis: float) -> None:
        calls.append((reader, timeout_millis))

    reader = InMemoryMetricReader()
    provider = MeterProvider(resource=Resource({}), shutdown_on_exit=False)
    compat.attach_reader(reader, collect, provider)
    reader.collect(timeout_millis=123)
    assert calls == [(reader, 123)]
    compat.attach_reader(reader, None)
    reader.collect()
    assert len(calls) == 1


def test_the_parameters_of_a_view_can_be_read() -> None:
    """Name, description, attribute keys and aggregation of a view are what it was made with."""
    aggregation = LastValueAggregation()
    view = View(instrument_name="a", name="b", description="c", attribute_keys={"k"}, aggregation=aggregation)
    parameters = compat.view_parameters(view)
    assert (parameters.name, parameters.description) == ("b", "c")
    assert parameters.attribute_keys == {"k"}
    assert parameters.aggregation is aggregation


def test_the_parameters_of_histogram_aggregations_can_be_read() -> None:
    """Bounds, sizes, scales and min/max of an aggregation are what it was made with."""
    assert compat.aggregation_parameters(ExplicitBucketHistogramAggregation([1, 2], record_min_max=False)) == {
        "boundaries": [1, 2],
        "record_min_max": False,
    }
    assert compat.aggregation_parameters(ExponentialBucketHistogramAggregation(20, 3)) == {
        "max_size": 20,
        "max_scale": 3,
        "record_min_max": True,
    }
    assert compat.aggregation_parameters(SumAggregation()) == {}


def test_the_configuration_of_a_provider_can_be_made() -> None:
    """`_sdk_config` has the fields that others read from upstream's provider."""
    resource = Resource({"a": "b"})
    config = compat.sdk_configuration(resource, (), "always_on")
    assert isinstance(config.exemplar_filter, AlwaysOnExemplarFilter)
    upstream = MeterProvider(resource=resource, shutdown_on_exit=False)._sdk_config
    assert vars(config).keys() == vars(upstream).keys()
    assert config.resource is resource


class _Exporter(ConsoleMetricExporter):
    def export(self, metrics_data: Any, timeout_millis: float = 10_000, **kwargs: Any) -> Any:
        return MetricExportResult.SUCCESS


def test_a_forked_child_of_a_periodic_reader_has_locks_of_its_own() -> None:
    """What a fork during an export leaves locked is renewed in the child, and a reader that has ended stays ended."""
    reader = compat.ForkingReader(_Exporter(), 3_600_000, 30_000)
    thread, ended = reader._daemon_thread, reader._shutdown_event
    with reader._export_lock, ended._cond:
        reader._at_fork_reinit()
        assert not reader._export_lock.locked()
        assert reader._daemon_thread is not thread
        reader.shutdown()
        assert not reader._daemon_thread.is_alive()
    ended.set()  # in a real child the parent's thread does not exist
    thread.join(20)


def test_a_periodic_reader_that_no_provider_has_yet_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Its thread runs from its making on; upstream's warns of each interval that is over before a provider has it."""
    reader = compat.ForkingReader(_Exporter(), 3_600_000, 30_000)
    reader.collect()
    assert caplog.messages == []
    collected = []
    compat.attach_reader(reader, lambda asked, timeout_millis: collected.append(asked))
    reader.collect()
    assert collected == [reader]
    reader.shutdown()


@pytest.mark.parametrize("kind", [LookupError, SystemExit, asyncio.CancelledError])
def test_the_thread_of_a_periodic_reader_survives_an_error(kind: type[BaseException]) -> None:
    """A collection or an export that raises, whatever it is, costs that collection (opentelemetry-python #3461)."""
    errors: list[BaseException] = []
    rounds = threading.Event()

    class Reader(compat.ForkingReader):
        def failed(self, error: BaseException) -> None:
            errors.append(error)

    def collect(reader: Any, timeout_millis: float) -> None:
        if len(errors) < 3:
            raise kind("callback")
        rounds.set()

    reader = Reader(_Exporter(), 1, 30_000)
    compat.attach_reader(reader, collect)
    assert rounds.wait(20)
    assert [str(error) for error in errors] == ["callback"] * 3
    reader.shutdown()


def test_a_periodic_reader_without_a_thread_collects_at_the_end() -> None:
    """Where no thread can be had that is said, and what was measured leaves at the end all the same."""
    errors: list[BaseException] = []

    class Reader(compat.ForkingReader):
        def failed(self, error: BaseException) -> None:
            errors.append(error)

    before = threading.stack_size(1 << 46)  # more than there is
    try:
        reader = Reader(_Exporter(), 3_600_000, 30_000)
    finally:
        threading.stack_size(before)
    collected = []
    compat.attach_reader(reader, lambda asked, timeout_millis: collected.append(asked))
    reader.shutdown()
    assert [str(error) for error in errors] == ["can't start new thread"]
    assert collected == [reader]
