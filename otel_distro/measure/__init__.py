"""Metrics that only the application can measure: its own counters, levels, timings, quotas, tokens.

Each object is made once, at module level, and used from anywhere: threads, coroutines, forked workers. Labels are
bounded, so a user's id never explodes a metric; nothing here raises for what it is given, and without the distro
(or another OpenTelemetry SDK) running every call does nothing.
"""

from ._instruments import Cache, Counter, Distribution, Gauge, Quota, observe
from ._labels import OTHER, Label
from ._models import ModelCall, ModelCalls
from ._timing import Timing, timed

__all__ = [
    "OTHER",
    "Cache",
    "Counter",
    "Distribution",
    "Gauge",
    "Label",
    "ModelCall",
    "ModelCalls",
    "Quota",
    "Timing",
    "observe",
    "timed",
]
