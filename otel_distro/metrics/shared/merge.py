"""Many processes' cells as one: a table of all series of the group, and the rules by which values become one.

Cells that are added are added in bulk; gauges, observed values and exponential histograms one by one. No slice of the
work takes longer than about a millisecond without giving the interpreter to other threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

from otel_distro.metrics import exponential
from otel_distro.metrics.cells import Entry
from otel_distro.metrics.identity import Kind, Merge, StreamIdentity
from otel_distro.metrics.series import OVERFLOW
from otel_distro.records import dataclass, field, replace

from . import records
from .member import Place
from .store import Key

_CHUNK: Final = 128  # cells of all processes that are added without a pause
_STEPS: Final = 64  # entries that are looked at without a pause
_OVERFLOW: Final = records.attributes_bytes(OVERFLOW)

Pause = Callable[[], None]


def lasts(identity: StreamIdentity) -> bool:
    """Whether what a process counted stays when it dies: sums that never fall and histograms, unless the host's."""
    if identity.kind in {Kind.HISTOGRAM, Kind.EXPONENTIAL}:
        return True
    return identity.monotonic and identity.merge is Merge.SUM


def single(identity: StreamIdentity) -> bool:
    """Whether cells of the stream cannot be added blindly."""
    return identity.timed or identity.kind is Kind.EXPONENTIAL or identity.merge is not Merge.SUM


@dataclass(slots=True)
class Layout:
    """How one process's cells lie in the table.

    Args:
        taken: places of the process that are in it.
        indices: the table's entry of each place.
        pick: reorders the process's cells; None while they lie as in the table.
        width: cells of the table that `pick` fills.
        extras: places that share an entry with another of the same process, as (place, entry).
        transient: cells of the table that count only while the process lives.
    """

    taken: int = 0
    indices: list[int] = field(default_factory=list)
    pick: Callable[[Sequence[float]], Sequence[float]] | None = None
    width: int = 0
    extras: list[tuple[Place, int]] = field(default_factory=list)
    transient: list[int] = field(default_factory=list)


class Table:
    """All series of the group, in the order in which they were first seen.

    Args:
        limit: series a stream, over all processes; further ones are counted under otel.metric.overflow.
        pause: called between slices of work.
    """

    def __init__(self, limit: int, pause: Pause) -> None:
        self.entries: list[Entry] = []
        self.width = 0
        self.singles: list[int] = []
        self.revision = 0
        self._limit = limit
        self._pause = pause
        self._by_key: dict[Key, int] = {}
        self._lasts: list[bool] = []
        self._streams: dict[bytes, tuple[StreamIdentity, list[int]]] = {}

    def learn(self, layout: Layout, places: Sequence[Place]) -> None:
        """Bring a process's layout up to date with its places.

        Raises:
            ValueError, TypeError: the places are not what our processes write.
        """
        if layout.taken == len(places):
            return
        used = set(layout.indices)
        for number in range(layout.taken, len(places)):
            place = places[number]
            index = self._entry(place)
            entry = self.entries[index]
            if entry.size != place.size:
                raise ValueError("a series has another size than its stream says")
            if place.started < entry.started:
                self.entries[index] = replace(entry, started=place.started)
                self.revision += 1
            if index in used:
                layout.extras.append((place, index))
            used.add(index)
            layout.indices.append(index)
            if number % 32 == 31:
                self._pause()
        layout.taken = len(places)
        self._order(layout, places)

    def align(self, layout: Layout, cells: Sequence[float]) -> list[float]:
        """A process's cells as the table has them; `cells` ends with a 0.0 that is no series's."""
        aligned = list(cells[: layout.width]) if layout.pick is None else list(layout.pick(cells))
        for place, index in layout.extras:
            entry = self.entries[index]
            mine = cells[place.at : place.at + place.size]
            now = aligned[entry.at : entry.at + entry.size]
            aligned[entry.at : entry.at + entry.size] = combine(entry.identity, [now, mine])
        return aligned

    def total(self, vectors: list[list[float]]) -> list[float]:
        """All processes' aligned cells as one; `vectors` is empty afterwards."""
        width = self.width
        if not vectors:
            return [0.0] * width
        for vector in vectors:
            vector.extend([0.0] * (width - len(vector)))
        if len(vectors) == 1:
            return vectors.pop()
        totals: list[float] = []
        for start in range(0, width, _CHUNK):
            totals.extend(map(sum, zip(*[v[start : start + _CHUNK] for v in vectors], strict=True)))
            self._pause()
        for number, index in enumerate(self.singles):
            entry = self.entries[index]
            span = slice(entry.at, entry.at + entry.size)
            totals[span] = combine(entry.identity, [v[span] for v in vectors])
            if number % 16 == 15:
                self._pause()
        while vectors:
            vectors.pop()  # one by one, because freeing hundreds of thousands of numbers at once takes milliseconds
            self._pause()
        return totals

    def _entry(self, place: Place) -> int:
        """The index of a place's series in the table, or of its stream's overflow series."""
        index = self._by_key.get(place.key)
        if index is not None:
            return index
        identity, members = self._streams.setdefault(place.key[0], (records.identity_of(place.key[0]), []))
        attributes = place.key[1]
        if len(members) >= self._limit - 1 and attributes != _OVERFLOW:
            overflow = (place.key[0], _OVERFLOW)
            index = self._by_key.get(overflow)
            if index is None:
                index = self._add(overflow, place, identity, members)
            return index  # not remembered: there may be any number of them
        return self._add(place.key, place, identity, members)

    def _add(self, key: Key, place: Place, identity: StreamIdentity, members: list[int]) -> int:
        index = len(self.entries)
        attributes: Any = records.attributes_of(key[1])
        self.entries.append(Entry(identity, attributes, self.width, place.size, place.started, -1, place.slots))
        self.width += place.size
        self._by_key[key] = index
        self._lasts.append(lasts(identity))
        members.append(index)
        if single(identity):
            self.singles.append(index)
        return index

    def _order(self, layout: Layout, places: Sequence[Place]) -> None:
        """Work out which of the process's cells is which of the table's."""
        layout.width = self.width
        end = places[-1].at + places[-1].size
        source = [end] * layout.width  # `end` is the 0.0 behind the last cell
        extra = {id(place) for place, _ in layout.extras}
        layout.transient = []
        entries, stays = self.entries, self._lasts
        for number, (place, index) in enumerate(zip(places, layout.indices, strict=True)):
            if extra and id(place) in extra:
                continue
            at, first, size = entries[index].at, place.at, place.size
            source[at : at + size] = range(first, first + size)
            if not stays[index]:
                layout.transient.extend(range(at, at + size))
            if number % _STEPS == _STEPS - 1:
                self._pause()
        self._pause()
        same = source == list(range(layout.width))
        layout.pick = None if same or layout.width < 2 else itemgetter(*source)
        if layout.width == 1 and not same:
            only = source[0]
            layout.pick = lambda cells: [cells[only]]
        self._pause()


def combine(identity: StreamIdentity, values: Sequence[Sequence[float]]) -> list[float]:
    """Several processes' cells of one series as one."""
    if identity.kind is Kind.EXPONENTIAL:
        return _exponential(values, identity.max_size)
    if identity.timed:
        seen: list[Sequence[float]] = [v for v in values if v[1]]
        if not seen:
            return [0.0, 0.0]
        time = max(v[1] for v in seen)
        if identity.merge is Merge.LAST:
            return [*max(seen, key=itemgetter(1))]
        return [_REDUCE[identity.merge]([v[0] for v in seen]), time]
    if identity.merge is Merge.SUM:
        return list(map(sum, zip(*values, strict=True)))
    return [_REDUCE[identity.merge]([v[0] for v in values])]


def _exponential(values: Sequence[Sequence[float]], max_size: int) -> list[float]:
    decoded = [v for cells in values if (v := exponential.decode(cells, 0, max_size)).count]
    if not decoded:
        return [0.0] * exponential.size(max_size)
    merged = decoded[0]
    for value in decoded[1:]:
        merged = merged.combined(value, max_size)
    return exponential.encode(merged, max_size)


_REDUCE: Final[dict[Merge, Callable[[Iterable[float]], float]]] = {
    Merge.SUM: sum,
    Merge.MAX: max,
    Merge.MIN: min,
    Merge.LAST: max,  # of cells that keep no time
}
