"""Every private name of the metrics SDK that the distro relies on.

Apart from `_compat` because neither tracing nor measuring needs the metrics SDK, whose import takes 20 ms and more
than a megabyte: only who collects does.

Contract tests: `tests/unit/test_compat_metrics.py`.
"""
# pyright: reportPrivateUsage=false

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf
from typing import Any, Final, cast

from opentelemetry.metrics import Instrument
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    ExemplarFilter,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics._internal import instrument as _instrument
from opentelemetry.sdk.metrics._internal.sdk_configuration import SdkConfiguration
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import (
    Aggregation,
    DefaultAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource

from otel_distro.process import NO_MORE_THREADS, Deadline
from otel_distro.records import dataclass

INSTRUMENTS: Final[Mapping[str, Any]] = {
    "counter": _instrument._Counter,
    "up_down_counter": _instrument._UpDownCounter,
    "histogram": _instrument._Histogram,
    "gauge": _instrument._Gauge,
    "observable_counter": _instrument._ObservableCounter,
    "observable_up_down_counter": _instrument._ObservableUpDownCounter,
    "observable_gauge": _instrument._ObservableGauge,
}
"""The classes by which a `MetricReader` has preferences."""


@dataclass(frozen=True, slots=True)
class ViewParameters:
    """What a view makes of the instruments that it matches; None keeps the instrument's."""

    name: str | None
    description: str | None
    attribute_keys: Collection[str] | None
    aggregation: Aggregation


class ForkingReader(PeriodicExportingMetricReader):
    """A periodic reader whose thread survives an error, and whose forked children wait for no lock of the parent's.

    Upstream's thread ends for good with the first error that is no timeout (opentelemetry-python #3461). In a child
    it is started anew, but the lock of an export and the event of the end stay as they were at the fork: a child that
    comes into being during an export hangs in its first flush.

    CPython 3.12 starts no thread while it ends, a full machine never: then what was measured leaves with flushes and
    with the end, in the thread that asks for them.

    Args:
        exporter: gets what is collected.
        interval: milliseconds between two collections.
        timeout: milliseconds one export may take.
    """

    _daemon_thread: Any

    def __init__(self, exporter: MetricExporter, interval: float, timeout: float) -> None:
        try:
            super().__init__(exporter, interval, timeout)
        except RuntimeError as error:
            # with an interval for ever it starts none
            super().__init__(exporter, inf, timeout)
            self._refused(error)

    def failed(self, error: BaseException) -> None:
        """A collection raised."""

    def wanted(self, *, last: bool) -> bool:
        """Whether there is something to collect; `last` says that `shutdown` has been called."""
        del last
        return True

    def collect(self, timeout_millis: float = 10_000) -> None:  # type: ignore[misc]  # final, which only says so
        """As upstream's, where it is wanted.

        With a short interval the thread comes here before a provider has got the reader, of which upstream warns.
        """
        if self._collect is not None and self.wanted(last=self._shutdown_event.is_set()):
            super().collect(timeout_millis)

    def _ticker(self) -> None:
        while not self._shutdown_event.is_set():
            try:
                super()._ticker()
            except BaseException as error:  # noqa: BLE001 - the next interval comes all the same, also after a SystemExit
                self.failed(error)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """As upstream's; without a thread the last collection is made here."""
        deadline = Deadline(timeout_millis / 1000)
        if self._daemon_thread is None and not self._shutdown:
            self._shutdown_event.set()
            try:
                self.collect(timeout_millis)
            except Exception as error:  # noqa: BLE001 - as in the thread
                self.failed(error)
        super().shutdown(deadline.left() * 1000, **kwargs)

    def _refused(self, error: RuntimeError) -> None:
        self._daemon_thread = None
        if NO_MORE_THREADS not in str(error):
            self.failed(error)

    def _at_fork_reinit(self) -> None:
        self._export_lock = threading.Lock()
        self._shutdown_event = threading.Event()
        if self._shutdown:
            self._shutdown_event.set()
        try:
            super()._at_fork_reinit()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            self._refused(error)


def reader_temporality(reader: MetricReader, kind: str) -> AggregationTemporality:
    """The temporality `reader` wants for instruments of `kind`, a name of `INSTRUMENTS`."""
    return reader._instrument_class_temporality.get(INSTRUMENTS[kind], AggregationTemporality.CUMULATIVE)


def reader_aggregation(reader: MetricReader, kind: str) -> Aggregation:
    """The aggregation `reader` wants for instruments of `kind`, a name of `INSTRUMENTS`, where no view says one."""
    return reader._instrument_class_aggregation.get(INSTRUMENTS[kind]) or DefaultAggregation()


def attach_reader(
    reader: MetricReader, collect: Callable[..., MetricsData | None] | None, provider: object | None = None
) -> None:
    """Let `reader.collect()` call `collect(reader, timeout_millis=...)`; None detaches it."""
    reader._set_collect_callback(cast(Any, collect))
    if provider is not None:
        reader._set_meter_provider(cast(Any, provider))


EXEMPLAR_FILTERS: Final[Mapping[str, Callable[[], ExemplarFilter]]] = {
    "trace_based": TraceBasedExemplarFilter,
    "always_on": AlwaysOnExemplarFilter,
    "always_off": AlwaysOffExemplarFilter,
}
"""By their names in `OTEL_METRICS_EXEMPLAR_FILTER`."""


def sdk_configuration(resource: Resource, views: Sequence[View], exemplar_filter: str) -> SdkConfiguration:
    """What third parties read from a provider as `_sdk_config`; the filter by its name in `EXEMPLAR_FILTERS`."""
    return SdkConfiguration(exemplar_filter=EXEMPLAR_FILTERS[exemplar_filter](), resource=resource, views=views)


def view_matches(view: View, instrument: Instrument) -> bool:
    """Whether `view` selects `instrument`."""
    return view._match(cast(Any, instrument))


def view_parameters(view: View) -> ViewParameters:
    """What `view` changes."""
    return ViewParameters(view._name, view._description, view._attribute_keys, view._aggregation)


def aggregation_parameters(aggregation: Aggregation) -> dict[str, Any]:
    """The arguments a histogram aggregation was made with; empty for the others."""
    if isinstance(aggregation, ExplicitBucketHistogramAggregation):
        return {"boundaries": aggregation._boundaries, "record_min_max": aggregation._record_min_max}
    if isinstance(aggregation, ExponentialBucketHistogramAggregation):
        return {
            "max_size": aggregation._max_size,
            "max_scale": aggregation._max_scale,
            "record_min_max": aggregation._record_min_max,
        }
    return {}
