"""Metrics by OTLP, behind upstream's exporter interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_distro.guard import Guard

from ._export import Export
from .sender import Sender

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExportResult, MetricsData
    from opentelemetry.sdk.metrics.view import Aggregation

    from ._batch import Encoder
    from .stats import SenderStats

_EXPONENTIAL = "base2_exponential_bucket_histogram"
# specification, metrics exporter for OTLP, "Additional environment variable configuration"
_DELTA: dict[str, tuple[str, ...]] = {
    "cumulative": (),
    "delta": ("Counter", "Histogram", "ObservableCounter"),
    "lowmemory": ("Counter", "Histogram"),
}
_INSTRUMENTS = (
    "Counter",
    "UpDownCounter",
    "Histogram",
    "ObservableCounter",
    "ObservableUpDownCounter",
    "ObservableGauge",
)


def preferred_temporality(name: str) -> dict[type, AggregationTemporality]:
    """The temporality of each instrument under `cumulative`, `delta` or `lowmemory`; any other name is `cumulative`."""
    # late, here and below: a process that sends no metrics yet need not import the metrics SDK
    from opentelemetry.sdk import metrics as sdk
    from opentelemetry.sdk.metrics.export import AggregationTemporality

    delta = _DELTA.get(name, ())
    return {
        getattr(sdk, instrument): (
            AggregationTemporality.DELTA if instrument in delta else AggregationTemporality.CUMULATIVE
        )
        for instrument in _INSTRUMENTS
    }


def preferred_aggregation(name: str) -> dict[type, Aggregation]:
    """The aggregation of histograms under `explicit_bucket_histogram` or `base2_exponential_bucket_histogram`."""
    from opentelemetry.sdk.metrics import Histogram
    from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, ExponentialBucketHistogramAggregation

    exponential = name == _EXPONENTIAL
    return {Histogram: ExponentialBucketHistogramAggregation() if exponential else ExplicitBucketHistogramAggregation()}


class OtlpMetricExporter:
    """Encodes what a reader has collected and returns at once; a sender delivers it.

    Args:
        encoder: `MetricEncoder`, or `JsonMetricEncoder`.
        sender: where to.
        guard: gets what goes wrong in encoding.
        shutdown_timeout: most milliseconds a `shutdown` may take.
        temporality: `cumulative`, `delta` or `lowmemory`.
        aggregation: `explicit_bucket_histogram` or `base2_exponential_bucket_histogram`.
    """

    def __init__(
        self,
        encoder: Encoder,
        sender: Sender,
        guard: Guard,
        *,
        shutdown_timeout: int,
        temporality: str = "cumulative",
        aggregation: str = "explicit_bucket_histogram",
    ) -> None:
        self._temporality, self._aggregation = temporality, aggregation
        self._export = Export(encoder, sender, guard)
        self._shutdown_timeout = shutdown_timeout
        self.takes_last_numbers = temporality == "cumulative"
        """Whether another process's cumulative numbers may be sent, too, from any thread."""
        self.has_defaults = aggregation != _EXPONENTIAL
        """Whether the aggregation of every instrument is the specification's default."""

    @property
    def _preferred_temporality(self) -> dict[type, AggregationTemporality]:
        """What upstream's readers ask an exporter for."""
        return preferred_temporality(self._temporality)

    @property
    def _preferred_aggregation(self) -> dict[type, Aggregation]:
        """Likewise."""
        return preferred_aggregation(self._aggregation)

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> MetricExportResult:
        """Take a collection: SUCCESS means that it is encoded and on its way, FAILURE that it is lost."""
        from opentelemetry.sdk.metrics.export import MetricExportResult

        return MetricExportResult.SUCCESS if self._export(metrics_data) else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Wait until what was exported so far has been delivered; False if it was not."""
        return self._export.flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, *, timeout: float | None = None, **_: Any) -> None:
        """Deliver, keep or count what waits, within the timeout and the distro's own.

        Args:
            timeout_millis: as the interface has it.
            timeout: milliseconds as well, by the name that upstream's periodic reader gives it.
        """
        self._export.shutdown(min(timeout_millis if timeout is None else timeout, self._shutdown_timeout))

    def stats(self) -> tuple[SenderStats, ...]:
        """What the target got."""
        return self._export.stats


def adopt() -> None:
    """Make this exporter one of upstream's to everyone who asks; called when the metrics SDK has been imported."""
    from opentelemetry.sdk.metrics.export import MetricExporter

    MetricExporter.register(OtlpMetricExporter)
