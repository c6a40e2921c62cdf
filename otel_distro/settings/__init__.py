"""Every setting once, typed: `parse(environ)` gives frozen settings and every problem found."""

from ._parse import describe, parse, repair
from ._problem import Problem, Weight
from .catalogue import (
    METRIC_GROUPS,
    Batch,
    Distro,
    General,
    Health,
    Http,
    Instrumentation,
    Limits,
    Logs,
    MetricGroups,
    Metrics,
    Otlp,
    Python,
    Requests,
    Sentry,
    Settings,
    Traces,
)

__all__ = [
    "METRIC_GROUPS",
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
    "Problem",
    "Python",
    "Requests",
    "Sentry",
    "Settings",
    "Traces",
    "Weight",
    "describe",
    "parse",
    "repair",
]
