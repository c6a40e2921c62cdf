"""What upstream's views and readers choose, in our words.

Apart from `views` because it needs the metrics SDK, which a start without views need not import.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from opentelemetry.sdk.metrics import view as upstream
from opentelemetry.sdk.metrics.view import View

from otel_distro import _compat_metrics as _compat

from .aggregation import DROP, LAST, SUM, Aggregation, explicit, exponential
from .views import OBSERVED, Origin, default

_HISTOGRAMS: Final = (upstream.ExplicitBucketHistogramAggregation, upstream.ExponentialBucketHistogramAggregation)
_SIMPLE: Final[Mapping[type[upstream.Aggregation], Aggregation]] = {
    upstream.DropAggregation: DROP,
    upstream.SumAggregation: SUM,
    upstream.LastValueAggregation: LAST,
}


def is_of_histograms(view: View) -> bool:
    """Whether `view` wants histograms."""
    return isinstance(_compat.view_parameters(view).aggregation, _HISTOGRAMS)


def keys_of(view: View) -> frozenset[str] | None:
    """The attributes that `view` keeps; None for all."""
    keys = _compat.view_parameters(view).attribute_keys
    return None if keys is None else frozenset(keys)


def named(view: View, name: str, description: str) -> tuple[str, str]:
    """Name and description of the stream that `view` makes of an instrument with these."""
    parts = _compat.view_parameters(view)
    return parts.name or name, parts.description or description


def aggregation_of(view: View) -> object | None:
    """Upstream's aggregation that `view` wants; None where it leaves that open."""
    wanted = _compat.view_parameters(view).aggregation
    return None if isinstance(wanted, upstream.DefaultAggregation) else wanted


def resolve(wanted: object, origin: Origin) -> Aggregation:
    """Our aggregation for upstream's.

    Args:
        wanted: of a view or a reader.
        origin: decides what the default is, and advises bounds.

    Raises:
        ValueError: the aggregation is of an unknown class, has impossible parameters or does not suit the instrument.
    """
    for cls, simple in _SIMPLE.items():
        if isinstance(wanted, cls):
            return simple
    if isinstance(wanted, upstream.DefaultAggregation):
        return default(origin)
    parts = _compat.aggregation_parameters(cast(upstream.Aggregation, wanted))
    if origin.kind in OBSERVED:
        raise ValueError("observable instruments cannot be aggregated into histograms")
    if isinstance(wanted, upstream.ExplicitBucketHistogramAggregation):
        bounds = parts["boundaries"]
        return explicit(origin.bounds if bounds is None else bounds, min_max=parts["record_min_max"])
    if isinstance(wanted, upstream.ExponentialBucketHistogramAggregation):
        from .exponential import ExponentialSeries  # noqa: F401 - its series are made under a lock, where nothing is imported

        return exponential(parts["max_size"], parts["max_scale"], min_max=parts["record_min_max"])
    raise ValueError(f"unknown aggregation {type(wanted).__name__}")
