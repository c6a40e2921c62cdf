"""The statistics: everything is compared within a round, and the middle of the rounds is what counts.

A machine is never equally fast for long. Two peers that run one after the other, seconds apart, share its mood; two
medians taken over minutes do not. So a ratio or a difference is made inside each round, and then the median of those.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median, quantiles

Series = Sequence[float | None]
"""One value a round, by round number; None where that round has none."""


def order(names: Sequence[str], turn: int) -> list[str]:
    """`names` as they run in round `turn`: rotated by one each round, backwards in every other.

    Over `2 * len(names)` rounds each name has run in each place twice, and after a neighbour as often as before it, so
    that none always inherits the caches, the clock and the heat of the same one.
    """
    if not names:
        return []
    start = (turn // 2) % len(names)
    turned = [*names[start:], *names[:start]]
    return turned[::-1] if turn % 2 else turned


def pairs(left: Series, right: Series) -> list[tuple[float, float]]:
    """Values of both series in the rounds that both have."""
    return [(a, b) for a, b in zip(left, right, strict=False) if a is not None and b is not None]


def ratios(values: Series, base: Series) -> list[float]:
    """Each value over the base of its own round; rounds whose base is not positive say nothing and are left out."""
    return [a / b for a, b in pairs(values, base) if b > 0]


def differences(values: Series, base: Series) -> list[float | None]:
    """Each value less the base of its own round, by round number."""
    size = max(len(values), len(base))
    left = [*values, *[None] * (size - len(values))]
    right = [*base, *[None] * (size - len(base))]
    return [None if a is None or b is None else a - b for a, b in zip(left, right, strict=True)]


def scaled(values: Series, factor: float) -> list[float | None]:
    """Each value times `factor`."""
    return [None if value is None else value * factor for value in values]


def middle(values: Series) -> float | None:
    """Median of the values there are; None where there is none."""
    there = [value for value in values if value is not None]
    return median(there) if there else None


def least(values: Series) -> float | None:
    """The smallest value: for a process that runs once, where whatever disturbs it adds; None where there is none."""
    return min((value for value in values if value is not None), default=None)


def spread(values: Series) -> tuple[float, float] | None:
    """First and third quartile; the two extremes where there are fewer than four values, None where there is none."""
    there = sorted(value for value in values if value is not None)
    if not there:
        return None
    if len(there) < 4:
        return there[0], there[-1]
    first, _, third = quantiles(there, n=4)
    return first, third


def middle_ratio(values: Series, base: Series) -> float | None:
    """Median of the ratios within each round; None where no round has both."""
    return middle(ratios(values, base))
