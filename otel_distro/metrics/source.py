"""What a scraper reads: the series and numbers of this process, or of a group of them, in one shape."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import chain, compress, count, repeat
from operator import gt
from typing import Protocol

from otel_distro.records import dataclass, field

from .cells import Entry
from .exemplars import SLOT, unpack
from .provider import LeanMeterProvider

Exemplar = tuple[float, float, int, int]
"""Value, seconds since the epoch, trace id, span id (0 without)."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All numbers at one moment.

    Args:
        entries: the series.
        version: equal for two snapshots whose entries are equal.
        cells: for `Entry.at` to index.
        exemplars: by index into `entries` and slot.
    """

    entries: Sequence[Entry]
    version: Hashable
    cells: Sequence[float]
    exemplars: Mapping[tuple[int, int], Exemplar] = field(default_factory=dict)


class Source(Protocol):
    """Gives snapshots."""

    def snapshot(self, *, exemplars: bool) -> Snapshot:
        """The numbers as they are now, callbacks included; with exemplars on demand."""
        ...


class LocalSource:
    """The series of this process.

    Args:
        provider: whose store is read.
        timeout_millis: that callbacks may take.
    """

    def __init__(self, provider: LeanMeterProvider, *, timeout_millis: float = 5000) -> None:
        self._provider = provider
        self._timeout = timeout_millis

    def snapshot(self, *, exemplars: bool) -> Snapshot:
        """See `Source.snapshot`."""
        self._provider.observe_within(self._timeout)
        store = self._provider.store
        entries = store.entries()
        found = dict(read_exemplars(entries, store.read_exemplars())) if exemplars else {}
        return Snapshot(entries, (os.getpid(), id(store), len(entries)), store.read(), found)


def read_exemplars(entries: Sequence[Entry], region: bytes) -> Iterable[tuple[tuple[int, int], Exemplar]]:
    """The exemplars in a store's slots; torn and empty ones are left out."""
    filled = filled_slots(region)
    if not filled:
        return
    for index, entry in enumerate(entries):
        first = entry.exemplars_at // SLOT
        for slot in range(entry.slots):
            if first + slot in filled:
                exemplar = unpack(region[(first + slot) * SLOT : (first + slot + 1) * SLOT])
                if exemplar is not None:
                    yield (index, slot), exemplar


def filled_slots(region: bytes, seen: Sequence[float] = ()) -> set[int]:
    """The slots that have a time, or a later one than in `seen`."""
    times = slot_times(region)
    return set(compress(count(), map(gt, times, chain(seen, repeat(0.0)))))


def slot_times(region: bytes) -> Sequence[float]:
    """When each slot was written, seconds since the epoch; 0 while it is empty."""
    return memoryview(region[: len(region) // SLOT * SLOT]).cast("d")[2 :: SLOT // 8].tolist()
