"""Metrics: the whole OpenTelemetry API over 8-byte cells."""

from .cells import LocalStore, Store, unsupported
from .identity import Kind, Merge, StreamIdentity
from .instruments import LeanCounter, LeanGauge, LeanHistogram, LeanUpDownCounter
from .meter import LeanMeter
from .provider import LeanMeterProvider
from .series import Series

__all__ = [
    "Kind",
    "LeanCounter",
    "LeanGauge",
    "LeanHistogram",
    "LeanMeter",
    "LeanMeterProvider",
    "LeanUpDownCounter",
    "LocalStore",
    "Merge",
    "Series",
    "Store",
    "StreamIdentity",
    "unsupported",
]
