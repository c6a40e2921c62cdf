"""Every setting once, typed: `parse(environ)` gives frozen settings and every problem found."""

from ._parse import describe, parse, repair
from ._problem import Problem, Weight
from .catalogue import (
    Batch,
    Distro,
    General,
    Http,
    Instrumentation,
    Limits,
    Logs,
    Metrics,
    Otlp,
    Python,
    Requests,
    Settings,
    Traces,
)

__all__ = [
    "Batch",
    "Distro",
    "General",
    "Http",
    "Instrumentation",
    "Limits",
    "Logs",
    "Metrics",
    "Otlp",
    "Problem",
    "Python",
    "Requests",
    "Settings",
    "Traces",
    "Weight",
    "describe",
    "parse",
    "repair",
]
