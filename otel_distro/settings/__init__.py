"""Every setting once, typed: `parse(environ)` gives frozen settings and every problem found."""

from ._parse import describe, parse, repair
from ._problem import Problem, Weight
from ._sentry_rules import DEFAULT_ENVIRONMENT, usable_environment, usable_release
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
    Redaction,
    Requests,
    Sentry,
    Settings,
    Traces,
)

__all__ = [
    "DEFAULT_ENVIRONMENT",
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
    "Redaction",
    "Requests",
    "Sentry",
    "Settings",
    "Traces",
    "Weight",
    "describe",
    "parse",
    "repair",
    "usable_environment",
    "usable_release",
]
