"""Metric families: which lines a set of series becomes, worked out once and filled with numbers at every scrape.

Every sample's name and labels are one finished string. Names that collide are resolved as the specification says: one
TYPE a name, the first one wins and the other metric is left out with a warning; differing help and unit texts cost
only themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

from opentelemetry.sdk.resources import Resource

from otel_distro.guard import Guard
from otel_distro.metrics.cells import Entry
from otel_distro.metrics.exponential import Buckets, decode
from otel_distro.metrics.identity import Kind, StreamIdentity
from otel_distro.metrics.source import Exemplar
from otel_distro.records import dataclass, field

from . import names

Exemplars = Mapping[tuple[int, int], Exemplar]
_SUFFIXES = {
    "counter": ("", "_total", "_created"),
    "gauge": ("",),
    "histogram": ("", "_bucket", "_count", "_sum", "_created"),
    "info": ("", "_info"),
}


def number(value: float) -> str:
    """A value as both formats write it."""
    if value - value == 0.0:
        return repr(value)
    return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"  # noqa: PLR0124 - NaN is the only such value


@dataclass(slots=True)
class Item:
    """One series of a family; `sources` are the entries that share its labels, usually one.

    Args:
        labels: without braces, `a="x",b="y"`.
        entries: of the first source and of those that are added to it.
        indices: of the same entries in the snapshot.
    """

    labels: str
    entries: list[Entry]
    indices: list[int]


@dataclass(slots=True)
class Family:
    """One metric family.

    Args:
        name: without the type's suffix.
        type: as OpenMetrics names it.
        unit: in words, or "".
        description: as given.
        items: by labels.
    """

    name: str
    type: str
    unit: str
    description: str
    items: dict[str, Item] = field(default_factory=dict)

    def header(self, *, openmetrics: bool) -> str:
        """The HELP, TYPE and UNIT lines; in the older format counters and infos are named like their samples."""
        name, kind = self.name, self.type
        if not openmetrics:
            name += {"counter": "_total", "info": "_info"}.get(kind, "")
            kind = "gauge" if kind == "info" else kind
        lines = f"# HELP {name} {names.help_text(self.description, quotes=openmetrics)}\n# TYPE {name} {kind}\n"
        return f"{lines}# UNIT {name} {self.unit}\n" if openmetrics and self.unit else lines

    def claims(self) -> set[str]:
        """All names that this family's samples and metadata may have."""
        return {self.name + suffix for suffix in _SUFFIXES[self.type]}


def build(
    entries: Sequence[Entry],
    resource: Resource | None,
    guard: Guard,
    *,
    scope_labels: bool,
    pause: Callable[[], None],
) -> list[Family]:
    """The families of all entries, `target` with the resource first.

    Args:
        entries: of a snapshot.
        resource: for `target_info`; None leaves it out.
        guard: gets the warnings about collisions.
        scope_labels: whether every sample names its instrumentation scope.
        pause: called now and then.
    """
    families: dict[str, Family] = {}
    claimed: dict[str, str] = {}
    if resource is not None and resource.attributes:
        target = Family("target", "info", "", "Target metadata")
        target.items[""] = Item(names.labels(resource.attributes), [], [])
        families["target"] = target
        claimed.update(dict.fromkeys(target.claims(), "target"))
    scopes: dict[Any, list[tuple[str, Any]]] = {}
    for index, entry in enumerate(entries):
        if index % 16 == 15:
            pause()
        family = _family(entry.identity, families, claimed, guard)
        if family is None:
            continue
        extra = (
            scopes.setdefault(entry.identity.scope, names.scope_labels(entry.identity.scope)) if scope_labels else []
        )
        labels = names.labels(entry.attributes, extra)
        _place(family, labels, entry, index, guard)
    return list(families.values())


def _place(family: Family, labels: str, entry: Entry, index: int, guard: Guard) -> None:
    """Add a series to its family, to the line of another where their labels have become equal."""
    item = family.items.get(labels)
    if item is None:
        family.items[labels] = Item(labels, [entry], [index])
    elif _same_shape(item.entries[0].identity, entry.identity):
        item.entries.append(entry)
        item.indices.append(index)
    else:
        guard.warn(
            f"prometheus: {family.name} has two series with equal labels and different buckets; one is left out",
            once=f"prometheus buckets {family.name}",
        )


def _family(
    identity: StreamIdentity, families: dict[str, Family], claimed: dict[str, str], guard: Guard
) -> Family | None:
    """The family of a stream, made when it is the first; None when its name is taken by another type."""
    if identity.kind in {Kind.HISTOGRAM, Kind.EXPONENTIAL}:
        kind = "histogram"
    else:
        kind = "counter" if identity.monotonic else "gauge"
    name, unit = names.family_name(identity.name, identity.unit, counter=kind == "counter")
    family = families.get(name)
    if family is None:
        family = Family(name, kind, unit, identity.description)
        taken = next((claimed[c] for c in family.claims() if c in claimed), None)
        if taken is None:
            claimed.update(dict.fromkeys(family.claims(), name))
            families[name] = family
            return family
    elif family.type == kind:
        if family.description != identity.description:
            guard.warn(
                f"prometheus: {name} has several descriptions; the first is shown", once=f"prometheus help {name}"
            )
        return family
    else:
        taken = name
    guard.warn(
        f"prometheus: {identity.name} of {identity.scope.name} becomes {name} ({kind}), a name that {taken} has taken "
        "with another type; it is left out (rename one of them by a view)",
        once=f"prometheus type {name} {kind}",
    )
    return None


def _same_shape(one: StreamIdentity, two: StreamIdentity) -> bool:
    return (one.kind, one.bounds, one.max_size, one.timed) == (two.kind, two.bounds, two.max_size, two.timed)


def exemplar_text(exemplar: Exemplar | None) -> str:
    """The rest of a line that carries an exemplar, or nothing."""
    if exemplar is None:
        return ""
    value, seconds, trace_id, span_id = exemplar
    labels = f'trace_id="{trace_id:032x}",span_id="{span_id:016x}"' if trace_id else ""
    return f" # {{{labels}}} {number(value)} {seconds:.3f}"


class Scalar:
    """Lines of a counter or a gauge."""

    __slots__ = ("_created", "_indices", "_places", "_prefix", "_timed")

    def __init__(self, family: Family, item: Item, *, openmetrics: bool) -> None:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        braces = f"{{{item.labels}}}" if item.labels else ""
        self._prefix = f"{name}{braces} "
        self._places = [entry.at for entry in item.entries]
        self._timed = item.entries[0].identity.timed
        self._indices = item.indices if family.type == "counter" else []
        self._created = ""
        if openmetrics and family.type == "counter":
            self._created = f"{family.name}_created{braces} {min(e.started for e in item.entries):.3f}\n"

    def lines(self, cells: Sequence[float], exemplars: Exemplars) -> str:
        """The lines, or nothing while there is no value."""
        if self._timed:
            seen = [at for at in self._places if cells[at + 1]]
            if not seen:
                return ""
            value = sum([cells[at] for at in seen]) if self._indices else cells[max(seen, key=lambda at: cells[at + 1])]
        else:
            value = cells[self._places[0]] if len(self._places) == 1 else sum([cells[at] for at in self._places])
        tail = ""
        if exemplars and self._indices:
            tail = exemplar_text(newest(exemplars, self._indices, 0))
        return f"{self._prefix}{number(value)}{tail}\n{self._created}"


class Histogram:
    """Lines of a histogram with explicit buckets."""

    __slots__ = ("_bounds", "_count", "_created", "_head", "_indices", "_places", "_sum")

    def __init__(self, family: Family, item: Item, *, openmetrics: bool) -> None:
        bounds = item.entries[0].identity.bounds
        comma = f"{item.labels}," if item.labels else ""
        braces = f"{{{item.labels}}}" if item.labels else ""
        # what all buckets begin with is kept once: whole lines would be 7 kB a series
        self._head = f'{family.name}_bucket{{{comma}le="'
        self._bounds = _written(bounds)
        # a sum that may fall is no counter: OpenMetrics forbids it beside negative buckets, and a count without a sum
        self._sum = "" if bounds and bounds[0] < 0 else f"{family.name}_sum{braces} "
        self._count = f"{family.name}_count{braces} "
        self._places = [entry.at for entry in item.entries]
        self._indices = item.indices
        self._created = ""
        if openmetrics:
            self._created = f"{family.name}_created{braces} {min(e.started for e in item.entries):.3f}\n"

    def lines(self, cells: Sequence[float], exemplars: Exemplars) -> str:
        """The lines; `_count` and the last bucket are the sum of all buckets."""
        at = self._places[0]
        buckets = len(self._bounds)
        counts: Sequence[float] = cells[at + 1 : at + 1 + buckets]
        total = cells[at]
        for other in self._places[1:]:
            counts = [a + b for a, b in zip(counts, cells[other + 1 : other + 1 + buckets], strict=True)]
            total += cells[other]
        reached = list(accumulate(counts))
        if exemplars:
            out = [
                f"{bound}{value!r}{exemplar_text(newest(exemplars, self._indices, slot))}\n"
                for slot, (bound, value) in enumerate(zip(self._bounds, reached, strict=True))
            ]
        else:
            out = [f"{bound}{value!r}\n" for bound, value in zip(self._bounds, reached, strict=True)]
        rest = f"{self._count}{reached[-1]!r}\n{self._sum}{number(total)}\n" if self._sum else ""
        return f"{self._head}{self._head.join(out)}{rest}{self._created}"


class Exponential:
    """Lines of an exponential histogram: neither text format has native ones, so powers of two serve as bounds."""

    __slots__ = ("_comma", "_created", "_item", "_name")

    def __init__(self, family: Family, item: Item, *, openmetrics: bool) -> None:
        self._name = family.name
        self._item = item
        self._comma = f"{item.labels}," if item.labels else ""
        braces = f"{{{item.labels}}}" if item.labels else ""
        self._created = ""
        if openmetrics:
            self._created = f"{family.name}_created{braces} {item.entries[0].started:.3f}\n"

    def lines(self, cells: Sequence[float], exemplars: Exemplars) -> str:
        """The lines: a bound for every filled power of two, zero, and +Inf."""
        size = self._item.entries[0].identity.max_size
        value = decode(cells, self._item.entries[0].at, size)
        for entry in self._item.entries[1:]:
            value = value.combined(decode(cells, entry.at, size), size)
        shift = max(0, value.scale)
        power = 1 << (shift - value.scale)  # a bucket's width in powers of two
        negative, positive = value.negative.at_scale(shift), value.positive.at_scale(shift)
        reached = 0.0
        out = []
        for index, count in reversed(list(_indexed(negative))):
            reached += count
            out.append((-_power_of_two(index * power), reached))
        if value.zeros or negative.counts:
            reached += value.zeros
            out.append((0.0, reached))
        for index, count in _indexed(positive):
            reached += count
            out.append((_power_of_two((index + 1) * power), reached))
        text = [f'{self._name}_bucket{{{self._comma}le="{bound!r}"}} {n!r}\n' for bound, n in out if abs(bound) < 1e308]
        text.append(f'{self._name}_bucket{{{self._comma}le="+Inf"}} {reached!r}\n')
        braces = f"{{{self._item.labels}}}" if self._item.labels else ""
        if not negative.counts:
            text.append(f"{self._name}_count{braces} {reached!r}\n{self._name}_sum{braces} {number(value.sum)}\n")
        return "".join([*text, self._created])


def newest(exemplars: Exemplars, indices: Sequence[int], slot: int) -> Exemplar | None:
    """The youngest exemplar of the entries that share a line."""
    found = [e for index in indices if (e := exemplars.get((index, slot))) is not None]
    return max(found, key=lambda e: e[1]) if len(found) > 1 else found[0] if found else None


@lru_cache(maxsize=256)
def _written(bounds: tuple[float, ...]) -> tuple[str, ...]:
    """What follows `le="` on the line of each bucket; histograms of equal bounds share it."""
    return (*(f'{bound!r}"}} ' for bound in bounds), '+Inf"} ')


def _indexed(buckets: Buckets) -> list[tuple[int, int]]:
    return [(buckets.offset + i, count) for i, count in enumerate(buckets.counts) if count]


def _power_of_two(exponent: int) -> float:
    return 2.0**exponent if -1074 <= exponent <= 1023 else 0.0 if exponent < 0 else float("inf")
