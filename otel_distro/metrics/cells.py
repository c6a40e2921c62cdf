"""Where numbers are kept: 8-byte cells that a series writes and a collection reads.

A cell is written as `cells[i] += x` with `x` known before, so that one bytecode reads and writes; CPython with its
interpreter lock then loses nothing between threads. Free-threaded builds break that and are refused (`unsupported`).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from .identity import StreamIdentity

Cells: TypeAlias = "memoryview[float]"
_SEGMENT = 2048  # cells: 16 KiB, some hundred histogram series


def unsupported() -> str | None:
    """Why this interpreter cannot keep cells, or None."""
    enabled = getattr(sys, "_is_gil_enabled", None)
    if enabled is not None and not enabled():
        return "this Python runs without its interpreter lock, which the lean metrics rely on"
    return None


@dataclass(frozen=True, slots=True)
class Entry:
    """One series of a process: what it is and where its cells begin.

    Args:
        identity: of the stream.
        attributes: of the series, cleaned.
        at: the first cell, counted over all segments.
        size: cells.
        started: when the series began, seconds since the epoch.
        exemplars_at: the first of its exemplar slots, or -1.
    """

    identity: StreamIdentity
    attributes: Mapping[str, Any]
    at: int
    size: int
    started: float
    exemplars_at: int = -1


@dataclass(frozen=True, slots=True)
class Block:
    """Cells given to one series.

    Args:
        cells: the segment.
        start: the first cell within it.
        exemplars: the segment of the published exemplars, or None where nobody else reads them.
        exemplars_start: the first byte within it.
    """

    cells: Cells
    start: int
    exemplars: memoryview | None = None
    exemplars_start: int = 0


class Store(Protocol):
    """Gives cells to series. Every method may be called from any thread."""

    def allocate(
        self, identity: StreamIdentity, attributes: Mapping[str, Any], size: int, *, started: float, exemplars: int
    ) -> Block:
        """`size` zeroed cells in one piece for a series that started at `started` and has `exemplars` slots."""
        ...

    def entries(self) -> list[Entry]:
        """All series so far, in the order of their cells."""
        ...

    def read(self) -> Cells:
        """A copy of all cells so far, for `Entry.at` to index."""
        ...

    def after_fork(self) -> None:
        """Forget everything: a child owns nothing of its parent's."""
        ...


class LocalStore:
    """Cells of this process alone, in ordinary memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._segments: list[Cells] = []
        self._bases: list[int] = []
        self._used = 0
        self._total = 0
        self._entries: list[Entry] = []

    def allocate(
        self, identity: StreamIdentity, attributes: Mapping[str, Any], size: int, *, started: float, exemplars: int
    ) -> Block:
        """See `Store.allocate`; exemplars are not published, the process itself has them."""
        with self._lock:
            if not self._segments or self._used + size > len(self._segments[-1]):
                capacity = max(_SEGMENT, size)
                self._bases.append(self._total)
                self._segments.append(memoryview(bytearray(capacity * 8)).cast("d"))
                self._total += capacity
                self._used = 0
            start = self._used
            self._used += size
            self._entries.append(Entry(identity, attributes, self._bases[-1] + start, size, started))
            return Block(self._segments[-1], start)

    def entries(self) -> list[Entry]:
        """See `Store.entries`."""
        with self._lock:
            return list(self._entries)

    def read(self) -> Cells:
        """See `Store.read`."""
        with self._lock:
            segments = list(self._segments)
        return memoryview(b"".join(segments)).cast("d")

    def after_fork(self) -> None:
        """See `Store.after_fork`."""
        self._lock = threading.Lock()
        self._segments = []
        self._bases = []
        self._used = self._total = 0
        self._entries = []
