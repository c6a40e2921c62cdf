"""Streams: one instrument as one view shows it, with all its series and the limit to their number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from threading import RLock
from time import time_ns
from typing import Any

from otel_distro.guard import Guard, let_through
from otel_distro.records import dataclass, field

from .aggregation import Aggregation
from .cells import Store
from .exemplars import Reservoir
from .identity import Kind, StreamIdentity, series_key
from .series import LARGEST, OVERFLOW, HistogramSeries, LastSeries, Series, SumSeries


@dataclass(frozen=True, slots=True)
class Means:
    """What streams work with, the same for a whole provider.

    Args:
        store: gives the cells that are scraped.
        private: gives cells for what only a reader of this process wants, in another aggregation.
        guard: gets warnings.
        limit: series a stream, the overflow series included.
        exemplars: "trace_based", "always_on" or "always_off".
        settles: called before anybody reads cells; see `LeanMeterProvider.settle_before_reading`.
    """

    store: Store
    private: Store
    guard: Guard
    limit: int
    exemplars: str
    settles: list[Callable[[], object]] = field(default_factory=list)


class Stream:
    """All series of one instrument under one view and one aggregation.

    Args:
        identity: what the stream is.
        aggregation: its kind is never None.
        means: what to work with.
        low: the smallest value an instrument may measure: 0, or the largest negative number.
        scraped: whether its cells are in the store that is scraped.

    Attributes:
        began: since when what callbacks report has counted, ns since the epoch.
    """

    def __init__(
        self, identity: StreamIdentity, aggregation: Aggregation, means: Means, low: float, *, scraped: bool
    ) -> None:
        self.identity = identity
        self.aggregation = aggregation
        self.floating = False
        self.others: list[Stream] = []
        self._means = means
        self._store = means.store if scraped else means.private
        self._low = low
        self._edges = (-inf, *identity.bounds, inf)
        self._lock = RLock()
        self.began = now()
        self._series: dict[tuple[tuple[str, Any], ...], Series] = {}
        self._full = False

    def series(self, attributes: Mapping[str, Any]) -> Series:
        """The series of these attributes, or the overflow series when there is no room for another.

        Args:
            attributes: cleaned and filtered by the view.
        """
        key = series_key(attributes)
        found = self._series.get(key)
        return found if found is not None else self._new(key, attributes)

    @property
    def settled(self) -> bool:
        """Whether what waits in ledgers is settled before anybody reads this."""
        return bool(self._means.settles)

    def all(self) -> list[Series]:
        """Every series, oldest first."""
        return list(self._series.values())

    def add_other(self, other: Stream) -> None:
        """Let `other`, the same view in another aggregation, get every measurement too, from now on."""
        with self._lock:
            self.others.append(other)
            for series in self._series.values():
                series.also = (*series.also, other.series(series.attributes))

    def refused(self, value: object) -> None:
        """Say once that this instrument was given a value it cannot take."""
        refused(self._means.guard, self.identity.name, value)

    def forget_unobserved(self, number: int) -> None:
        """Forget the values that collection `number` did not observe."""
        for series in list(self._series.values()):
            if isinstance(series, LastSeries):
                series.absent(number)

    def after_fork(self) -> None:
        """In a child: every series starts again at zero, in cells of its own."""
        self._lock = RLock()
        self.began = now()
        for series in list(self._series.values()):
            self._bind(series)

    def _new(self, key: tuple[tuple[str, Any], ...], attributes: Mapping[str, Any]) -> Series:
        with self._lock:
            found = self._series.get(key)
            if found is not None:
                return found
            if len(self._series) >= self._means.limit - 1 and attributes is not OVERFLOW:
                if not self._full:  # once: to find the attribute that is to blame walks over every series
                    self._full = True
                    self._warn()
                return self.series(OVERFLOW)
            series = self._make(attributes)
            self._bind(series)
            series.also = tuple(other.series(attributes) for other in self.others)
            # a signal's handler may have made the same meanwhile
            return self._series.setdefault(key, series)

    def _make(self, attributes: Mapping[str, Any]) -> Series:
        kind = self.identity.kind
        if kind is Kind.HISTOGRAM:
            return HistogramSeries(self, attributes, self._low, self._edges)
        if kind is Kind.EXPONENTIAL:
            a = self.aggregation
            from .exponential import ExponentialSeries  # here by now: `chosen` has it imported

            return ExponentialSeries(self, attributes, self._low, a.max_size, a.max_scale)
        return (LastSeries if self.identity.timed else SumSeries)(self, attributes, self._low)

    def _bind(self, series: Series) -> None:
        # what a callback reports has counted since then, a series of measurements since its first
        since = self.began if self.identity.observed else now()
        slots = self._exemplar_slots()
        block = self._store.allocate(self.identity, series.attributes, self._size(), started=since / 1e9, slots=slots)
        reservoir = None
        if slots:
            always = self._means.exemplars == "always_on"
            reservoir = Reservoir(slots, always=always, region=block.exemplars, start=block.exemplars_start)
        series.bind(block, since, reservoir)

    def _size(self) -> int:
        kind = self.identity.kind
        if kind is Kind.HISTOGRAM:
            return len(self.identity.bounds) + 2
        if kind is Kind.EXPONENTIAL:
            from .exponential import size  # likewise

            return size(self.identity.max_size)
        return 2 if self.identity.timed else 1

    def _exemplar_slots(self) -> int:
        if self._means.exemplars == "always_off" or self.identity.observed:
            return 0
        return len(self.identity.bounds) + 1 if self.identity.kind is Kind.HISTOGRAM else 1

    def _warn(self) -> None:
        values: dict[str, set[Any]] = {}
        for key in self._series:
            for name, value in key:
                values.setdefault(name, set()).add(value)
        worst = max(values, key=lambda name: len(values[name]), default="")
        self._means.guard.warn(
            f"metrics: instrument {self.identity.name} has reached its limit of {self._means.limit} series; attribute "
            f"{worst} alone has {len(values.get(worst, ()))} values. Further ones are counted together under "
            "otel.metric.overflow (drop the attribute by a view, or give it fewer values)",
            once=f"cardinality {self.identity.name}",
        )


def now() -> int:
    """Whole microseconds, which a float of seconds keeps: who speaks for a dead process has to say the same start."""
    return time_ns() // 1000 * 1000


def refused(guard: Guard, name: str, value: object) -> None:
    """Say once that instrument `name` was given a value it cannot take."""
    what = "negative" if isinstance(value, (int, float)) and -LARGEST <= value < 0 else "not a finite number"
    guard.warn(
        f"metrics: instrument {name} was given {value!r:.40}, which is {what}; such values are ignored",
        once=f"refused {name}",
    )


def unmeasured(guard: Guard, part: str, value: object, error: Exception) -> None:
    """Count a measurement that failed, and say the first of `part`; a value that is neither int nor float is why.

    Args:
        guard: counts and says it.
        part: names the instrument.
        value: of the measurement.
        error: what came of it.
    """
    if isinstance(value, (int, float)):
        guard.failed(part, error)
        return
    let_through(error)
    reason = f"it was given a {type(value).__name__}, which is no int or float"
    guard.failed(part, reason, remedy="convert it; such values are not measured")
