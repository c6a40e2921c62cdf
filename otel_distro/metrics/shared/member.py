"""Another process's files, as a reader sees them: whatever is in them, reading never raises and never maps.

Files are read, not mapped: a file that someone shortens gives fewer bytes and no signal.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from otel_distro.metrics.cells import CELL
from otel_distro.metrics.exemplars import SLOT

from . import records, runtime
from .store import CELLS, EXEMPLARS, INDEX, MOST, Key

_SERVED = "http.server."
LARGEST = 256 * 1024 * 1024
"""Bytes of an index, or of a folding, that are read at a time."""


class Place(NamedTuple):
    """One series in a process's files.

    Args:
        key: what it is.
        at: its first cell.
        size: cells.
        started: seconds since the epoch.
        exemplars_at: its first exemplar byte, -1 without.
        slots: exemplar slots.
    """

    key: Key
    at: int
    size: int
    started: float
    exemplars_at: int
    slots: int


class Member:
    """The files of one process.

    Args:
        directory: of the group.
        name: of the files, without suffix.

    Attributes:
        places: its series.
        resource: attributes and schema URL of what its numbers belong to, None where it did not say.
        ended: it has sent everything and ended in order.
        damaged: its index cannot be read any further.

    Raises:
        OSError: they are gone, or not this user's.
        ValueError: they are not ours.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.places: list[Place] = []
        self.resource: tuple[dict[str, Any], str] | None = None
        self.ended = False
        self.damaged = False
        self._streams: dict[int, bytes] = {}
        self._end = 0
        self._pid = os.getpid()
        self._directory = directory
        self._index = os.open(directory / (name + INDEX), os.O_RDWR | os.O_NOFOLLOW)
        self._parsed = len(records.MAGIC)
        if read(self._index, self._parsed, 0) != records.MAGIC:
            self.close()
            raise ValueError(f"{name}{INDEX} is not an index of ours")

    def alive(self) -> bool:
        """Whether the process lives."""
        if not self.seize():
            return True
        runtime.unlock(self._index)
        return False

    def killed(self) -> bool:
        """Whether a dead process had served requests and did not end in order.

        Others leave by `os._exit` as they please: children of multiprocessing do, and pools.
        """
        if self.ended:
            return False
        with contextlib.suppress(ValueError, TypeError):
            return any(records.identity_of(each).name.startswith(_SERVED) for each in self._streams.values())
        return False

    def seize(self) -> bool:
        """Take the lock of a dead process, until `close`; whether that could be done."""
        return runtime.locked(self._index)

    def there(self) -> bool:
        """Whether the files are still in the directory."""
        return (self._directory / (self.name + INDEX)).exists()

    def refresh(self, pause: Callable[[], None] = lambda: None) -> bool:
        """Take the index's new records; whether there were any. A damaged index keeps what was read before.

        Args:
            pause: called now and then.
        """
        size = os.fstat(self._index).st_size
        if size <= self._parsed or self.damaged:
            return False
        data = read(self._index, min(size - self._parsed, LARGEST), self._parsed)
        before, parsed = len(self.places), 0
        try:
            for kind, payload, end in records.frames(data):
                self._take(kind, payload)
                parsed = end
                if len(self.places) % 64 == 0:
                    pause()
        except (ValueError, KeyError, TypeError, struct.error):
            self.damaged = True
        self._parsed += parsed
        return len(self.places) > before

    def cells(self) -> Sequence[float]:
        """All cells that the index tells of, and one 0.0 behind them; what cannot be read is 0.0."""
        wanted = self._end * CELL
        data = self._content(CELLS, wanted).ljust(wanted + CELL, b"\0")
        return memoryview(data).cast("d").tolist()

    def exemplars(self) -> bytes:
        """All exemplar slots that the index tells of."""
        wanted = max((p.exemplars_at + p.slots * SLOT for p in self.places if p.slots), default=0)
        return self._content(EXEMPLARS, wanted).ljust(wanted, b"\0")

    def close(self) -> None:
        """Close the index, which is the only file that is kept open, and give up a lock that was seized."""
        index, self._index = self._index, -1
        if index >= 0:
            # a child that was forked meanwhile has the lock as well, and must not give up its parent's
            if os.getpid() == self._pid:
                runtime.unlock(index)
            os.close(index)

    def _content(self, suffix: str, size: int) -> bytes:
        """The first `size` bytes of a file; fewer when it is shorter, none when it is gone."""
        try:
            descriptor = opened(self._directory / (self.name + suffix))
        except FileNotFoundError:
            return b""
        try:
            return read(descriptor, size, 0)
        finally:
            os.close(descriptor)

    def _take(self, kind: bytes, payload: bytes) -> None:
        if kind == records.RESOURCE:
            self.resource = records.read_resource(payload)
        elif kind == records.ENDED:
            self.ended = True
        elif kind == records.STREAM:
            number, description = records.read_stream(payload)
            self._streams[number] = description
        elif kind == records.SERIES:
            stream, at, size, started, exemplars_at, slots, attributes = records.read_series(payload)
            end = at + size
            if at < self._end or end * CELL > MOST or exemplars_at + slots * SLOT > MOST:
                raise ValueError("a series lies where it cannot")
            self._end = end
            self.places.append(Place((self._streams[stream], attributes), at, size, started, exemplars_at, slots))


def opened(path: Path) -> int:
    """A plain file, to be read. A pipe in its place would keep a scrape waiting for ever.

    Raises:
        OSError: it is gone, or a link.
        ValueError: it is no plain file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path.name} is no file")
    return descriptor


def read(descriptor: int, size: int, at: int) -> bytes:
    """Up to `size` bytes; fewer when the file is shorter or cannot be read."""
    parts: list[bytes] = []
    while size > 0:
        try:
            part = os.pread(descriptor, min(size, 1 << 20), at)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
        at += len(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def names(directory: Path) -> Sequence[str]:
    """The processes that have files in a group's directory."""
    with contextlib.suppress(OSError), os.scandir(directory) as found:
        return [entry.name.removesuffix(INDEX) for entry in found if entry.name.endswith(INDEX)]
    return []
