"""Metrics pushed at an interval, from a thread that no exporter's error ends and no fork leaves hanging."""

from __future__ import annotations

from opentelemetry.sdk.metrics.export import MetricExporter

from otel_distro._compat_metrics import ForkingReader
from otel_distro.guard import Guard


class PushReader(ForkingReader):
    """Upstream's periodic reader, guarded.

    Args:
        exporter: gets what is collected.
        interval: milliseconds between two pushes.
        timeout: milliseconds one push may take.
        guard: gets what a collection raises.
    """

    def __init__(self, exporter: MetricExporter, *, interval: float, timeout: float, guard: Guard) -> None:
        self._guard = guard
        super().__init__(exporter, export_interval_millis=interval, export_timeout_millis=timeout)

    def failed(self, error: Exception) -> None:
        """Count what a collection raised."""
        self._guard.failed("metrics reader", error)
