"""What becomes of an instrument's measurements: sum, last value, explicit or exponential buckets, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite

from otel_distro.records import dataclass

from .identity import Kind

DEFAULT_BOUNDS = (
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0,
)  # fmt: skip
"""Specification, "Explicit Bucket Histogram Aggregation"."""

MAX_SIZES = (2, 16384)


@dataclass(frozen=True, slots=True)
class Aggregation:
    """How a stream aggregates; two equal ones share their cells.

    Args:
        kind: None drops everything.
        bounds: of explicit buckets.
        min_max: whether a histogram reports its extremes.
        max_size: exponential buckets a side.
        max_scale: the scale an exponential histogram begins with.
    """

    kind: Kind | None
    bounds: tuple[float, ...] = ()
    min_max: bool = True
    max_size: int = 0
    max_scale: int = 0


DROP = Aggregation(None)
SUM = Aggregation(Kind.SUM)
LAST = Aggregation(Kind.GAUGE)


def explicit(bounds: Sequence[float] | None, *, min_max: bool = True) -> Aggregation:
    """Explicit buckets.

    Args:
        bounds: upper bounds; None for the specification's.
        min_max: whether to report the extremes.

    Raises:
        ValueError: the bounds are not finite and rising.
    """
    chosen = DEFAULT_BOUNDS if bounds is None else tuple(float(b) for b in bounds)
    if not all(map(isfinite, chosen)) or any(a >= b for a, b in pairwise(chosen)):
        raise ValueError(f"histogram bounds have to be finite and rising: {chosen!r}")
    return Aggregation(Kind.HISTOGRAM, chosen, min_max=min_max)


def exponential(max_size: int = 160, max_scale: int = 20, *, min_max: bool = True) -> Aggregation:
    """Base-2 exponential buckets.

    Args:
        max_size: buckets a side, 2 to 16384.
        max_scale: -10 to 20; greater ones are taken as 20, the specification's highest.
        min_max: whether to report the extremes.

    Raises:
        ValueError: out of range.
    """
    if not MAX_SIZES[0] <= max_size <= MAX_SIZES[1]:
        raise ValueError(f"an exponential histogram has 2 to 16384 buckets a side, not {max_size}")
    if max_scale < -10:
        raise ValueError(f"the scale of an exponential histogram is -10 or more, not {max_scale}")
    return Aggregation(Kind.EXPONENTIAL, min_max=min_max, max_size=max_size, max_scale=min(max_scale, 20))
