"""Where numbers are kept: 8-byte cells that a series writes and a collection reads.

A cell is written as `cells[i] += x` with `x` known before, so that one bytecode reads and writes; CPython with its
interpreter lock then loses nothing between threads. Free-threaded builds break that and are refused (`unsupported`).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias

from otel_distro.records import dataclass

from .exemplars import SLOT
from .identity import StreamIdentity

Cells: TypeAlias = "memoryview[float]"
CELL: Final = 8  # bytes
SEGMENT: Final = 16 * 1024  # bytes of cells, some hundred histogram series
EXEMPLAR_SEGMENT: Final = 48 * 1024  # bytes: 1024 slots
_EXEMPLARS: Final = 12 * 1024  # bytes where they are this process's alone, which take no file


def unsupported() -> str | None:
    """Why this interpreter cannot keep cells, or None."""
    enabled = getattr(sys, "_is_gil_enabled", None)
    if enabled is not None and not enabled():
        return "this Python runs without its interpreter lock, which the lean metrics rely on"
    return None


@dataclass(frozen=True, slots=True)
class Entry:
    """One series: what it is and where its cells begin.

    Args:
        identity: of the stream.
        attributes: of the series, cleaned.
        at: the first cell, counted over all segments.
        size: cells.
        started: when the series began, seconds since the epoch.
        exemplars_at: the first exemplar slot, in bytes over all segments; -1 without.
        slots: exemplar slots.
    """

    identity: StreamIdentity
    attributes: Mapping[str, Any]
    at: int
    size: int
    started: float
    exemplars_at: int = -1
    slots: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """Cells given to one series.

    Args:
        cells: the segment.
        start: the first cell within it.
        exemplars: the segment of the published exemplars, None without.
        exemplars_start: the first byte within it.
        shared: other processes read these cells at any moment.
    """

    cells: Cells
    start: int
    exemplars: memoryview | None = None
    exemplars_start: int = 0
    shared: bool = False


class Store(Protocol):
    """Gives cells to series. Every method may be called from any thread."""

    def allocate(
        self, identity: StreamIdentity, attributes: Mapping[str, Any], size: int, *, started: float, slots: int
    ) -> Block:
        """`size` zeroed cells in one piece, and `slots` exemplar slots, for a series that began at `started`."""
        ...

    def entries(self) -> list[Entry]:
        """All series so far, in the order of their cells; entries are only ever added, but for a fork."""
        ...

    def read(self) -> Cells:
        """A copy of all cells so far, for `Entry.at` to index."""
        ...

    def read_exemplars(self) -> bytes:
        """A copy of all exemplar slots so far, for `Entry.exemplars_at` to index."""
        ...

    def after_fork(self) -> None:
        """Forget everything: a child owns nothing of its parent's."""
        ...


class Arena:
    """Segments of bytes, handed out from the front; a piece never lies in two segments.

    Args:
        segment: makes a zeroed segment of so many bytes, the first of which is this one over all segments.
        size: of the first segments, unless a piece is larger; later ones are multiples of it.
    """

    def __init__(self, segment: Callable[[int, int], memoryview], size: int) -> None:
        self._segment = segment
        self._size = size
        self._segments: dict[int, memoryview] = {}
        self._last = memoryview(b"")
        self._base = self._room = self._used = 0

    def take(self, size: int) -> tuple[memoryview, int, int]:
        """`size` bytes: the segment, the first byte within it, and the first byte over all segments."""
        while self._used + size > self._room:
            base = self._base + self._room
            # a quarter of what there is: each mapped segment costs a descriptor for good
            made = self._segment(max(self._size, size, base // (4 * self._size) * self._size), base)
            room = len(made)
            # no calls from here on: a signal's handler, or a finaliser, may take as well, and may have made the same
            if base == self._base + self._room:
                self._segments[base] = self._last = made
                self._base, self._room, self._used = base, room, 0
        last, base, start = self._last, self._base, self._used
        self._used = start + size
        return last, start, base + start

    def read(self) -> bytes:
        """A copy of everything."""
        return b"".join([*self._segments.values()])


class LocalStore:
    """Cells of this process alone, in ordinary memory."""

    def __init__(self) -> None:
        self.after_fork()

    def after_fork(self) -> None:
        """See `Store.after_fork`."""
        # re-entrant: a signal's handler, or a finaliser, may make a series in the midst of another
        self._lock = threading.RLock()
        self._cells = Arena(_memory, SEGMENT)
        self._exemplars = Arena(_memory, _EXEMPLARS)
        self._entries: list[Entry] = []

    def allocate(
        self, identity: StreamIdentity, attributes: Mapping[str, Any], size: int, *, started: float, slots: int
    ) -> Block:
        """See `Store.allocate`."""
        with self._lock:
            cells, start, at = self._cells.take(size * CELL)
            exemplars, exemplars_start, exemplars_at = self._exemplars.take(slots * SLOT) if slots else (None, 0, -1)
            self._entries.append(Entry(identity, attributes, at // CELL, size, started, exemplars_at, slots))
            return Block(cells.cast("d"), start // CELL, exemplars, exemplars_start)

    def entries(self) -> list[Entry]:
        """See `Store.entries`."""
        with self._lock:
            return list(self._entries)

    def read(self) -> Cells:
        """See `Store.read`."""
        with self._lock:
            return memoryview(self._cells.read()).cast("d")

    def read_exemplars(self) -> bytes:
        """See `Store.read_exemplars`."""
        with self._lock:
            return self._exemplars.read()


def _memory(size: int, _: int) -> memoryview:
    return memoryview(bytearray(size))
