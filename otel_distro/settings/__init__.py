"""Every setting once, typed: `parse(environ)` gives frozen settings and every problem found."""

from ._parse import describe, parse, repair
from ._problem import Problem, Weight
from .catalogue import (
    Batch,
    Distro,
    General,
    Health,
    Http,
    Instrumentation,
    Limits,
    Logs,
    Metrics,
    Otlp,
    Python,
    Requests,
    Sentry,
    Settings,
    Traces,
)

__all__ = [
    "Batch",
    "Distro",
    "General",
    "Health",
    "Http",
    "Instrumentation",
    "Limits",
    "Logs",
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
