"""Metrics pushed at an interval, from a thread that no exporter's error ends and no fork leaves hanging."""

from __future__ import annotations

from collections.abc import Callable

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
        measured: whether the application has measured anything. A process that ends before its first push and has not
            says nothing: its own processor time and memory alone are not worth a connection.
    """

    def __init__(
        self,
        exporter: MetricExporter,
        *,
        interval: float,
        timeout: float,
        guard: Guard,
        measured: Callable[[], bool] = lambda: True,
    ) -> None:
        self._guard = guard
        self._measured = measured
        self._pushed = False
        super().__init__(exporter, interval, timeout)

    def wanted(self, *, last: bool) -> bool:
        """Everything but a first push at the end of a process that has measured nothing."""
        self._pushed = self._pushed or not last or self._measured()
        return self._pushed

    def failed(self, error: BaseException) -> None:
        """Count what a collection raised."""
        self._guard.failed("metrics reader", error)
