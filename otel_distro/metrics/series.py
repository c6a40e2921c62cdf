"""Series: one set of attributes of one stream, bound to its cells. This is where a measurement ends.

Straight-line code without calls between reading and writing a cell or a slot is not interrupted by CPython, so there is
no lock on this path. `_count` and the +Inf bucket are derived from the buckets; only `_sum` may lag.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from math import inf
from sys import float_info
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import Span

from otel_distro.ledger import FEW

from .cells import Block, Cells
from .exemplars import Reservoir, sampled
from .identity import Kind

if TYPE_CHECKING:
    from .stream import Stream

LARGEST: Final = float_info.max
NOTHING: Final[Mapping[str, Any]] = {}
Ids = tuple[int, int]
"""Trace id and span id of a sampled span."""
OVERFLOW: Final[Mapping[str, Any]] = {"otel.metric.overflow": True}
"""Attributes of the series that takes what does not fit (specification, "Cardinality limits")."""


def plain(value: Any) -> Any:
    """A number of another type than int and float as a float; what is none as it was given.

    NumPy's scalars compare in their own precision, in which `LARGEST` is infinite, and say so in a warning; a `Decimal`
    is added to no float.
    """
    from numbers import Number  # late: hardly anybody measures such

    return float(value) if isinstance(value, Number) else value  # type: ignore[arg-type]


class Series:
    """What all series have in common.

    Args:
        stream: that the series belongs to.
        attributes: cleaned, as exported.
        low: the smallest value that may be measured.
    """

    __slots__ = ("_at", "_cells", "_low", "_reservoir", "_shared", "also", "attributes", "started", "stream")

    def __init__(self, stream: Stream, attributes: Mapping[str, Any], low: float) -> None:
        self.stream = stream
        self.attributes = attributes
        self.also: tuple[Series, ...] = ()
        self.started = 0
        self._low = low
        self._cells: Cells
        self._at = 0
        self._reservoir: Reservoir | None = None
        self._shared = False

    def bind(self, block: Block, started: int, reservoir: Reservoir | None) -> None:
        """Take new cells, all zero; also what a forked child does.

        Args:
            block: of the store.
            started: ns since the epoch.
            reservoir: for exemplars, None when none are wanted.
        """
        self._cells = block.cells
        self._at = block.start
        self.started = started
        self._reservoir = reservoir
        self._shared = block.shared

    @property
    def waits(self) -> bool:
        """Whether what it is told may wait in a ledger: nobody reads the cells without having that settled before."""
        return self.stream.settled and not (self._shared or any(other._shared for other in self.also))  # noqa: SLF001

    def measure(
        self,
        value: float,
        span: Span | None = None,
        dropped: Mapping[str, Any] = NOTHING,
        moment: float | None = None,
    ) -> None:
        """Take one measurement.

        Args:
            value: finite; negative only where the instrument allows it. Anything else is refused with one warning.
            span: current at this moment, for the exemplar; None for none.
            dropped: attributes that the view took away, for the exemplar.
            moment: when it was made, by `time.perf_counter`, for the exemplar; None for now.
        """
        raise TypeError(f"{type(self).__name__} takes no measurements")

    def add(self, value: float, span: Span | None = None, dropped: Mapping[str, Any] = NOTHING) -> None:
        """`measure`, as counters call it."""
        self.measure(value, span, dropped)

    def record(self, value: float, span: Span | None = None, dropped: Mapping[str, Any] = NOTHING) -> None:
        """`measure`, as histograms call it."""
        self.measure(value, span, dropped)

    def set(self, value: float, span: Span | None = None, dropped: Mapping[str, Any] = NOTHING) -> None:
        """`measure`, as gauges call it."""
        self.measure(value, span, dropped)

    def took(self, seconds: float, now: float, ids: tuple[int, int] | None) -> None:
        """Take a duration of a span that is no object.

        Args:
            seconds: finite, not negative.
            now: by `time.perf_counter`.
            ids: trace id and span id where it is sampled, for the exemplar; None for none.
        """
        self.measure(seconds, None if ids is None else sampled(*ids), NOTHING, now)

    def took_all(
        self, values: Sequence[float], moments: Sequence[float], ids: Callable[[int], tuple[int, int]]
    ) -> None:
        """`took` for each of many that have waited.

        Args:
            values: finite, not negative.
            moments: when each was measured, by `time.perf_counter`.
            ids: trace id and span id of each by its index; all are sampled.
        """
        for index, (value, moment) in enumerate(zip(values, moments, strict=True)):
            self.took(value, moment, ids(index))

    def step(self, value: int) -> None:
        """Add one or take one away, as an instrumentation of ours counts what goes on."""
        self.measure(value)

    def observe(self, value: float, number: int) -> None:
        """Take what a callback reported.

        Args:
            value: the total (sums) or the value (gauges) at this moment.
            number: of the collection: several observations of one series in one collection are added up in a sum.
        """
        raise TypeError(f"{type(self).__name__} is not observed")

    @property
    def overflows(self) -> bool:
        """Whether this is the series of what does not fit."""
        return self.attributes is OVERFLOW

    def exemplars(self, after: int) -> list[Any]:
        """Exemplars younger than `after` (ns since the epoch)."""
        return [] if self._reservoir is None else self._reservoir.since(after)


def _offer_all(  # noqa: PLR0917 - as `took_all`
    reservoir: Reservoir,
    bucket: int,
    buckets: Sequence[int] | None,
    values: Sequence[float],
    moments: Sequence[float],
    newest: float,
    ids: Callable[[int], Ids],
) -> None:
    """Offer those of one bucket that are due, one after another.

    Args:
        reservoir: gets them.
        bucket: whose are offered.
        buckets: of each value; None where all are of this one.
        values: as of `took_all`.
        moments: likewise.
        newest: of the moments; nothing behind the last one that is due is looked at.
        ids: likewise.
    """
    due, index = reservoir.due, -1
    while newest >= due[bucket]:
        try:
            index = index + 1 if buckets is None else buckets.index(bucket, index + 1)
            moment = moments[index]
        except (ValueError, IndexError):
            return
        if moment >= due[bucket]:
            reservoir.offer(bucket, values[index], sampled(*ids(index)), NOTHING, moment)


class NullSeries(Series):
    """Takes measurements that nobody wants: dropped streams and invalid instruments."""

    __slots__ = ()

    def __init__(self) -> None:
        self.attributes = NOTHING
        self.also = ()
        self.started = 0

    @property
    def waits(self) -> bool:
        """See `Series.waits`."""
        return True

    def measure(
        self,
        value: float,
        span: Span | None = None,
        dropped: Mapping[str, Any] = NOTHING,
        moment: float | None = None,
    ) -> None:
        """Do nothing."""

    add = record = set = measure

    def observe(self, value: float, number: int) -> None:
        """Do nothing."""


class SumSeries(Series):
    """A sum of what is added: one cell."""

    __slots__ = ()

    def measure(
        self,
        value: float,
        span: Span | None = None,
        dropped: Mapping[str, Any] = NOTHING,
        moment: float | None = None,
    ) -> None:
        """See `Series.measure`."""
        kind = value.__class__
        if kind is not int and kind is not float:
            value = plain(value)
        if not self._low <= value <= LARGEST:
            self.stream.refused(value)
            return
        if kind is not int:
            self.stream.floating = True
        cells = self._cells
        cells[self._at] += value
        reservoir = self._reservoir
        if (
            reservoir is not None
            and (span is not None or reservoir.always)
            and (moment or perf_counter()) >= reservoir.due[0]
        ):
            reservoir.offer(0, value, span, dropped, moment)
        if self.also:
            for other in self.also:
                other.measure(value, span, dropped, moment)

    add = record = set = measure

    def step(self, value: int) -> None:
        """Add one or take one away, without the looks that a number of ours does not need; no exemplar."""
        if self.also:
            self.measure(value)
        else:
            self._cells[self._at] += value

    def value(self) -> float:
        """The sum so far."""
        return self._cells[self._at]


class LastSeries(Series):
    """The last value: two cells, value and when, by the clock that all processes share and nobody sets.

    Observed sums are kept the same way, as the total last seen.
    """

    __slots__ = ("_round",)

    def bind(self, block: Block, started: int, reservoir: Reservoir | None) -> None:
        """See `Series.bind`."""
        Series.bind(self, block, started, reservoir)
        self._round = 0

    def measure(
        self,
        value: float,
        span: Span | None = None,
        dropped: Mapping[str, Any] = NOTHING,
        moment: float | None = None,
    ) -> None:
        """See `Series.measure`."""
        kind = value.__class__
        if kind is not int and kind is not float:
            value = plain(value)
        if not self._low <= value <= LARGEST:
            self.stream.refused(value)
            return
        if kind is not int:
            self.stream.floating = True
        now = monotonic()
        cells, at = self._cells, self._at
        cells[at] = value
        cells[at + 1] = now
        reservoir = self._reservoir
        if (
            reservoir is not None
            and (span is not None or reservoir.always)
            and (moment or perf_counter()) >= reservoir.due[0]
        ):
            reservoir.offer(0, value, span, dropped, moment)
        if self.also:
            for other in self.also:
                other.measure(value, span, dropped, moment)

    add = record = set = measure

    def observe(self, value: float, number: int) -> None:
        """See `Series.observe`."""
        kind = value.__class__
        if kind is not int and kind is not float:
            value = plain(value)
        if not -LARGEST <= value <= LARGEST:
            self.stream.refused(value)
            return
        if kind is not int:
            self.stream.floating = True
        total = value
        if self._round == number and self.stream.identity.kind is Kind.SUM:
            total = value + self._cells[self._at]
        self._round = number
        self._cells[self._at] = total
        self._cells[self._at + 1] = monotonic()
        for other in self.also:
            other.observe(value, number)

    def absent(self, number: int) -> None:
        """Forget the value unless collection `number` observed it."""
        if self._round != number:
            self._cells[self._at + 1] = 0.0

    def value(self) -> float | None:
        """The last value, None when there is none."""
        return self._cells[self._at] if self._cells[self._at + 1] else None

    def seen(self) -> float:
        """When the value was measured, by `time.monotonic`; 0 when there is none."""
        return self._cells[self._at + 1]


class Distribution(Series):
    """A histogram of any kind: its smallest and largest value are kept in this process only."""

    __slots__ = ("_taken", "maximum", "minimum")

    def bind(self, block: Block, started: int, reservoir: Reservoir | None) -> None:
        """See `Series.bind`."""
        Series.bind(self, block, started, reservoir)
        self.minimum, self.maximum = inf, -inf
        self._taken: dict[object, tuple[float, float]] = {}

    def extremes(self) -> tuple[float, float]:
        """The smallest and largest value since the start; `(inf, -inf)` before the first."""
        low, high = self._taken.get(None, (inf, -inf))
        return min(low, self.minimum), max(high, self.maximum)

    def take_extremes(self, reader: object) -> tuple[float, float]:
        """The smallest and largest value since `reader` took them last (specification: per collection interval)."""
        low, high, self.minimum, self.maximum = self.minimum, self.maximum, inf, -inf
        taken = self._taken
        taken.setdefault(None, (inf, -inf))
        if reader not in taken:
            taken[reader] = taken[None]
        for key, (before_low, before_high) in taken.items():
            taken[key] = (min(before_low, low), max(before_high, high))
        result = taken[reader]
        taken[reader] = (inf, -inf)
        return result


class HistogramSeries(Distribution):
    """Explicit buckets: `[sum, bucket counts...]`.

    What is measured next is often of the bucket of what was measured last, which costs a third of a search.

    Args:
        edges: of the buckets: minus infinity, the upper bounds, inclusive and rising, infinity.
    """

    __slots__ = ("_bucket", "_edges")

    def __init__(self, stream: Stream, attributes: Mapping[str, Any], low: float, edges: tuple[float, ...]) -> None:
        super().__init__(stream, attributes, low)
        self._edges = edges
        self._bucket = 0

    def measure(
        self,
        value: float,
        span: Span | None = None,
        dropped: Mapping[str, Any] = NOTHING,
        moment: float | None = None,
    ) -> None:
        """See `Series.measure`."""
        kind = value.__class__
        if kind is not float and kind is not int:
            value = plain(value)
        if not self._low <= value <= LARGEST:
            self.stream.refused(value)
            return
        if kind is not float:
            value = float(value)  # what cannot be added has to fail before the first cell is written
        edges, bucket = self._edges, self._bucket
        if not edges[bucket] < value <= edges[bucket + 1]:
            bucket = self._bucket = bisect_left(edges, value) - 1
        cells, at = self._cells, self._at
        cells[at + 1 + bucket] += 1.0
        cells[at] += value
        if value < self.minimum:  # noqa: PLR1730 - a call would cost three times as much and can be interrupted
            self.minimum = value
        if value > self.maximum:  # noqa: PLR1730
            self.maximum = value
        reservoir = self._reservoir
        if (
            reservoir is not None
            and (span is not None or reservoir.always)
            and (moment or perf_counter()) >= reservoir.due[bucket]
        ):
            reservoir.offer(bucket, value, span, dropped, moment)
        if self.also:
            for other in self.also:
                other.measure(value, span, dropped, moment)

    add = record = set = measure

    def took(self, seconds: float, now: float, ids: tuple[int, int] | None) -> None:
        """See `Series.took`: `measure` without the looks that a duration of ours does not need."""
        if self.also:
            Series.took(self, seconds, now, ids)
            return
        edges, bucket = self._edges, self._bucket
        if not edges[bucket] < seconds <= edges[bucket + 1]:
            bucket = self._bucket = bisect_left(edges, seconds) - 1
        cells, at = self._cells, self._at
        cells[at + 1 + bucket] += 1.0
        cells[at] += seconds
        if seconds < self.minimum:  # noqa: PLR1730 - see `measure`
            self.minimum = seconds
        if seconds > self.maximum:  # noqa: PLR1730
            self.maximum = seconds
        reservoir = self._reservoir
        # hardly ever due, so that is asked first
        if reservoir is not None and now >= reservoir.due[bucket] and (ids is not None or reservoir.always):
            reservoir.offer(bucket, seconds, None if ids is None else sampled(*ids), NOTHING, now)

    def took_all(
        self, values: Sequence[float], moments: Sequence[float], ids: Callable[[int], tuple[int, int]]
    ) -> None:
        """See `Series.took_all`; each cell is written once."""
        if self.also or len(values) < FEW:
            Series.took_all(self, values, moments, ids)
            return
        edges, total, smallest, largest = self._edges, sum(values), min(values), max(values)
        first = bisect_left(edges, smallest) - 1
        buckets: Sequence[int] | None = None
        counts: Iterable[tuple[int, int]] = ((first, len(values)),)
        if largest > edges[first + 1]:
            buckets = [at - 1 for at in map(bisect_left, repeat(edges), values)]
            counts = [(bucket, buckets.count(bucket)) for bucket in set(buckets)]
        cells, at = self._cells, self._at
        for bucket, count in counts:
            cells[at + 1 + bucket] += float(count)
        cells[at] += total
        if smallest < self.minimum:  # noqa: PLR1730 - see `measure`
            self.minimum = smallest
        if largest > self.maximum:  # noqa: PLR1730
            self.maximum = largest
        reservoir = self._reservoir
        if reservoir is not None:
            newest = max(moments)
            for bucket, _ in counts:
                # once a second, so that looking at each again costs nothing
                if newest >= reservoir.due[bucket]:
                    _offer_all(reservoir, bucket, buckets, values, moments, newest, ids)

    def value(self) -> tuple[float, ...]:
        """`(sum, bucket counts...)` so far."""
        return tuple(self._cells[self._at : self._at + len(self._edges)])
