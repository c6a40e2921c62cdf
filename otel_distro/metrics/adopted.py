"""Our metrics as upstream's to everyone who asks with `isinstance`, without upstream's metrics SDK where nobody asks.

Its import takes 20 ms and more than a megabyte, which an application that never imports it need not spend before its
first metrics leave. Our classes stand on the API alone, and are registered as virtual subclasses of the SDK's.
"""

from __future__ import annotations

import sys

_SDK = "opentelemetry.sdk.metrics"


def adopt_if_imported() -> None:
    """Register our classes, where the SDK has been imported; again is harmless."""
    if _SDK in sys.modules:
        adopt()


def adopt() -> None:
    """Register our classes; called when the SDK has been imported."""
    from opentelemetry.sdk import metrics as sdk

    from . import instruments
    from .meter import LeanMeter
    from .provider import LeanMeterProvider

    sdk.MeterProvider.register(LeanMeterProvider)
    sdk.Meter.register(LeanMeter)
    sdk.Counter.register(instruments.LeanCounter)
    sdk.UpDownCounter.register(instruments.LeanUpDownCounter)
    sdk.Histogram.register(instruments.LeanHistogram)
    sdk._Gauge.register(instruments.LeanGauge)  # noqa: SLF001 - upstream's own public spelling
    sdk.ObservableCounter.register(instruments.LeanObservableCounter)
    sdk.ObservableUpDownCounter.register(instruments.LeanObservableUpDownCounter)
    sdk.ObservableGauge.register(instruments.LeanObservableGauge)


__all__ = ["adopt", "adopt_if_imported"]
