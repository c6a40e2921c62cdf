"""Every environment variable the distro reads, once: name, kind, default, meaning and source.

The reference table in the README and the parser are both made from these classes.
"""

from __future__ import annotations

from otel_distro.settings._variable import Record, group

from ._distro import Distro
from ._general import General
from ._health import Health
from ._http import Http
from ._instrumentation import Instrumentation
from ._logs import Logs
from ._metric_groups import METRIC_GROUPS, MetricGroups
from ._metrics import Metrics
from ._otlp import Otlp
from ._python import Python
from ._redaction import Redaction
from ._requests import Requests
from ._sentry import Sentry
from ._traces import SAMPLERS, Batch, Limits, Traces


class Settings(Record):
    """All settings of one process, parsed once."""

    general: General = group(General)
    traces: Traces = group(Traces)
    metrics: Metrics = group(Metrics)
    metric_groups: MetricGroups = group(MetricGroups)
    logs: Logs = group(Logs)
    otlp_traces: Otlp = group(Otlp, prefix="OTEL_EXPORTER_OTLP_TRACES_", fallback="OTEL_EXPORTER_OTLP_")
    otlp_metrics: Otlp = group(Otlp, prefix="OTEL_EXPORTER_OTLP_METRICS_", fallback="OTEL_EXPORTER_OTLP_")
    otlp_logs: Otlp = group(Otlp, prefix="OTEL_EXPORTER_OTLP_LOGS_", fallback="OTEL_EXPORTER_OTLP_")
    instrumentation: Instrumentation = group(Instrumentation)
    redaction: Redaction = group(Redaction)
    python: Python = group(Python)
    sentry: Sentry = group(Sentry)
    health: Health = group(Health)
    distro: Distro = group(Distro)


__all__ = [
    "METRIC_GROUPS",
    "SAMPLERS",
    "Batch",
    "Distro",
    "General",
    "Health",
    "Http",
    "Instrumentation",
    "Limits",
    "Logs",
    "MetricGroups",
    "Metrics",
    "Otlp",
    "Python",
    "Redaction",
    "Requests",
    "Sentry",
    "Settings",
    "Traces",
]
