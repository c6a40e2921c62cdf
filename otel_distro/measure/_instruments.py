"""What an application counts, sets and distributes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from ._labels import MOST, Bounded, Label, failed, meter_or, text_of, unmeasured


class Measured:
    """What the classes below share: bounded labels, and no error of ours in the application.

    Args:
        name: of the metric, in the form `shop.orders`.
        instrument: of OpenTelemetry's.
        take: its method that takes a value and attributes.
        most: values of each label that are told apart.
    """

    __slots__ = ("_bounded", "_instrument", "_name")

    def __init__(self, name: str, instrument: Any, take: Callable[..., object], most: int) -> None:
        self._name = name
        self._instrument = instrument
        self._bounded = Bounded(instrument, take, most, name)

    def take(self, value: float, labels: Mapping[str, Label]) -> None:
        """Take one measurement; what cannot be measured is counted as a failure of this metric."""
        try:
            self._bounded.series(labels)(value)
        except Exception as error:  # noqa: BLE001 - whatever an application passes must not fail the application
            self.unmeasured(value, error)

    def unmeasured(self, value: object, error: Exception) -> None:
        """Count a value that could not be taken as a failure of this metric, and say the first."""
        unmeasured(self._instrument, self._name, value, error)

    def failed(self, error: Exception) -> None:
        """Count a failure of this metric, and say the first."""
        failed(self._instrument, self._name, error)


class Counter(Measured):
    """Counts things that only become more: orders, credits, analyses.

        credits = Counter("analytics.credits.consumed", unit="{credit}")
        credits.add(5, plan="pro")

    Args:
        name: of the metric; Prometheus appends `_total`.
        unit: UCUM, or what is counted in braces.
        description: one sentence for people.
        most: values of each label that are told apart; further ones are counted as `_OTHER`, which is said once.
        meter: that makes it; the process's by default.
    """

    __slots__ = ()

    def __init__(
        self, name: str, *, unit: str = "", description: str = "", most: int = MOST, meter: Meter | None = None
    ) -> None:
        made = meter_or(meter).create_counter(name, unit, description)
        super().__init__(name, made, made.add, most)

    def add(self, amount: float = 1, /, **labels: Label) -> None:
        """Count `amount`, which is not negative."""
        self.take(amount, labels)


class Gauge(Measured):
    """Holds a value that was set: the newest of all workers is shown.

    Args:
        name: of the metric.
        unit: UCUM, or what is counted in braces.
        description: one sentence for people.
        most: see `Counter`.
        meter: see `Counter`.
    """

    __slots__ = ()

    def __init__(
        self, name: str, *, unit: str = "", description: str = "", most: int = MOST, meter: Meter | None = None
    ) -> None:
        made = meter_or(meter).create_gauge(name, unit, description)
        super().__init__(name, made, made.set, most)

    def set(self, value: float, /, **labels: Label) -> None:
        """Hold `value` from now on."""
        self.take(value, labels)


class Distribution(Measured):
    """Distributes values over buckets: results of a search, sizes of a batch.

    Args:
        name: of the metric.
        unit: UCUM, or what is counted in braces.
        description: one sentence for people.
        buckets: upper bounds, rising; OpenTelemetry's default ones when None.
        most: see `Counter`.
        meter: see `Counter`.
    """

    __slots__ = ()

    def __init__(
        self,
        name: str,
        *,
        unit: str = "",
        description: str = "",
        buckets: Sequence[float] | None = None,
        most: int = MOST,
        meter: Meter | None = None,
    ) -> None:
        made = meter_or(meter).create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=buckets)
        super().__init__(name, made, made.record, most)

    def record(self, value: float, /, **labels: Label) -> None:
        """Take one value."""
        self.take(value, labels)


class Quota:
    """What another service allows: `<name>.used` and `<name>.remaining`.

        quota = Quota("ga4.quota", unit="{token}")
        quota.set(used=850, limit=1000, property="web")

    Args:
        name: of both metrics.
        unit: of both.
        description: what is limited.
        most: see `Counter`.
        meter: see `Counter`.
    """

    __slots__ = ("_remaining", "_used")

    def __init__(
        self, name: str, *, unit: str = "", description: str = "", most: int = MOST, meter: Meter | None = None
    ) -> None:
        about = f" {description}" if description else ""
        self._used = Gauge(
            f"{name}.used", unit=unit, description=f"What is used of the quota.{about}", most=most, meter=meter
        )
        left = f"What is left of the quota.{about}"
        self._remaining = Gauge(f"{name}.remaining", unit=unit, description=left, most=most, meter=meter)

    def set(self, *, used: float, limit: float, **labels: Label) -> None:
        """Hold what is known now; the newest of all workers is shown."""
        self._used.take(used, labels)
        try:
            left = limit - used
        except Exception as error:  # noqa: BLE001 - as of `Measured.take`
            self._remaining.unmeasured(limit if isinstance(used, (int, float)) else used, error)
            return
        self._remaining.take(left, labels)


class Cache:
    """Hits and misses of a cache that no instrumentation knows, in the metric that Redis's are in: `cache.lookups`.

    Args:
        name: of the cache, the label `cache.name`.
        meter: see `Counter`.
    """

    __slots__ = ("_counter", "_hit", "_miss")

    def __init__(self, name: str, *, meter: Meter | None = None) -> None:
        what = "Items looked up in a cache, by what was found."
        self._counter = Counter("cache.lookups", unit="{lookup}", description=what, meter=meter)
        self._hit: dict[str, Label] = {"cache.name": name, "cache.result": "hit"}
        self._miss: dict[str, Label] = {"cache.name": name, "cache.result": "miss"}

    def hit(self, items: int = 1) -> None:
        """Count items that were found."""
        self._counter.take(items, self._hit)

    def miss(self, items: int = 1) -> None:
        """Count items that were not."""
        self._counter.take(items, self._miss)


def observe(
    name: str,
    read: Callable[[], float | Mapping[str, float]],
    *,
    label: str = "kind",
    unit: str = "",
    description: str = "",
    shared: bool = False,
    meter: Meter | None = None,
) -> None:
    """Show what `read` returns whenever metrics are collected; it runs in a thread of the distro's.

    Args:
        name: of the metric.
        read: gives the value, or values by the label's (at most 50 are shown); one that raises is counted and shown as
            nothing.
        label: of the values, when there are several.
        unit: UCUM, or what is counted in braces.
        description: one sentence for people.
        shared: all workers look at the same thing (a table, a queue elsewhere), so the newest value counts; else each
            has its own part of it (its cache, its connections), and the parts are added up.
        meter: see `Counter`.
    """

    def observed(_: CallbackOptions) -> Iterator[Observation]:
        value = read()
        if not isinstance(value, Mapping):
            yield Observation(value)
            return
        for kind, part in [*value.items()][:MOST]:
            yield Observation(part, {label: text_of(kind) or ""})

    where = meter_or(meter)
    make = where.create_observable_gauge if shared else where.create_observable_up_down_counter
    make(name, [observed], unit, description)
