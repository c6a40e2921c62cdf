"""How long exports took.

Source: semantic conventions 1.44, "OpenTelemetry SDK metrics".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from opentelemetry.metrics import Histogram, Meter

from otel_distro.components import Component
from otel_distro.conventions import server_of

DURATIONS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds; a collector next door answers in milliseconds, one that is away is tried again for minutes."""


class ExportDurations:
    """Takes the durations of exports from the senders, which are made before there is a meter.

    Attributes:
        histogram: None while nobody measures.
    """

    __slots__ = ("histogram",)

    def __init__(self) -> None:
        self.histogram: Histogram | None = None

    def measure(self, meter: Meter) -> None:
        """Let durations be measured from now on.

        Args:
            meter: of the distro's own scope.
        """
        self.histogram = meter.create_histogram(
            "otel.sdk.exporter.operation.duration",
            "s",
            "The duration of exporting a batch of telemetry records.",
            explicit_bucket_boundaries_advisory=DURATIONS,
        )

    def recorder(self, component: Component, endpoint: str) -> Callable[[float, str], None]:
        """For one exporter: takes seconds, and the reason of a failure or nothing.

        Args:
            component: the exporter.
            endpoint: the URL of its collector.
        """
        attributes = {**component.attributes, **server_of(endpoint)}

        def record(seconds: float, error: str) -> None:
            if self.histogram is not None:
                self.histogram.record(seconds, {**attributes, "error.type": error} if error else attributes)

        return record


__all__ = ["DURATIONS", "ExportDurations"]
