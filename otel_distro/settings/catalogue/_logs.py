"""Log records and where they go."""

from __future__ import annotations

from dataclasses import dataclass

from otel_distro.settings._values import integer, names
from otel_distro.settings._variable import group, variable

from ._traces import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBatch(Batch):
    """The same for log records, which leave sooner."""

    schedule_delay: int = variable("SCHEDULE_DELAY", integer(1, 86_400_000), 1000, "Milliseconds between two exports.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """Logs by OTLP."""

    exporters: tuple[str, ...] = variable(
        "OTEL_LOGS_EXPORTER", names(), ("none",), "`otlp`, `console` or `none`, as a list."
    )
    batch: Batch = group(LogBatch, prefix="OTEL_BLRP_")
