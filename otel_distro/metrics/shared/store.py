"""Cells in files that other processes of the group read: what a process has counted survives its death by any signal.

Three files a process: `.index` (what its cells mean, append-only, locked while the process lives and never mapped,
because a mapping that a child inherits would keep the lock), `.cells` and `.exemplars` (mapped, grown by segments). A
segment's blocks are allocated before it is mapped and a mapped file is never shortened: a full disk is an error here
and no SIGBUS later.
"""

from __future__ import annotations

import contextlib
import errno
import math
import mmap
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, Final

from opentelemetry.sdk.resources import Resource

from otel_distro.guard import Guard, let_through
from otel_distro.metrics.cells import CELL, EXEMPLAR_SEGMENT, SEGMENT, Arena, Block, Cells, Entry
from otel_distro.metrics.exemplars import SLOT
from otel_distro.metrics.identity import StreamIdentity
from otel_distro.records import replace

from . import records, runtime

INDEX: Final = ".index"
CELLS: Final = ".cells"
EXEMPLARS: Final = ".exemplars"
SOCKET: Final = ".socket"
MOST: Final = 64 * 1024 * 1024
"""Bytes of cells, and of exemplars, that a process may put into files."""
PART: Final = "metrics: shared memory"
_REMEDY: Final = "further series of this process are only in what it answers itself"

_PAGES: Final = math.lcm(mmap.ALLOCATIONGRANULARITY, SLOT)  # whole pages that hold whole exemplars

Key = tuple[bytes, bytes]
"""What a series is, in bytes: its stream's description and its attributes."""


class SharedStore:
    """A `Store` whose cells the group can read.

    Args:
        group: the process is a member of.
        guard: gets the one warning when the disk is full or the directory has gone.
        resource: of this process, and of a forked child when it is asked there; for whoever speaks for the dead.
        observes: what callbacks tell of this process is the group's: not a supervisor's, but that of its children.

    Attributes:
        killed: processes of the group that this one has found dead, that had served requests and not ended in order.

    Raises:
        OSError: the files cannot be made.
    """

    def __init__(
        self,
        group: runtime.Group,
        guard: Guard,
        resource: Callable[[], Resource] | None = None,
        *,
        observes: bool = True,
    ) -> None:
        self.group = group
        self._guard = guard
        self._resource = resource
        self._observes = observes
        self._closing: list[int] = []
        try:
            self._open()
        except OSError:
            self._abandon()
            raise

    @property
    def name(self) -> str:
        """Of this process's files, without their suffix."""
        return self._name

    def allocate(
        self, identity: StreamIdentity, attributes: Mapping[str, Any], size: int, *, started: float, slots: int
    ) -> Block:
        """See `Store.allocate`; when the files cannot grow, the cells are this process's alone."""
        key = (self._description(identity), records.attributes_bytes(attributes))
        with self._lock:
            return self._place(key, Entry(identity, attributes, 0, size, started, 0, slots))

    def entries(self) -> list[Entry]:
        """See `Store.entries`."""
        with self._lock:
            return [entry for entry, _ in self._entries]

    def described(self, after: int) -> list[tuple[Entry, Key]]:
        """The series from number `after` on, with what they are in bytes."""
        with self._lock:
            return self._entries[after:]

    def read(self) -> Cells:
        """See `Store.read`."""
        with self._lock:
            return memoryview(self._cells.read()).cast("d")

    def read_exemplars(self) -> bytes:
        """See `Store.read_exemplars`."""
        with self._lock:
            return self._exemplars.read()

    def after_fork(self) -> None:
        """See `Store.after_fork`; a child that cannot have files of its own keeps its cells to itself."""
        for descriptor in self._closing:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._closing = []
        self._observes = True
        try:
            self.group.after_fork()
            self._open()
        except OSError as error:
            self._reset()
            self._fail(error)

    def close(self) -> None:
        """Leave the group in order; the numbers stay for the others, the lock until the process ends."""
        if not self._private:
            with contextlib.suppress(OSError):
                self._write(records.ended_record())
        self.group.leave()

    def withdraw(self) -> None:
        """Leave the group and take the numbers along, before this process becomes another user's; see `after_fork`."""
        with contextlib.suppress(OSError):
            remove_files(self.group.path, self._name)
        self.group.leave()

    def _reset(self) -> None:
        # re-entrant: a signal's handler, or a finaliser, may make a series in the midst of another
        self._lock = threading.RLock()
        self._name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._private = False
        self.killed = 0
        self._entries: list[tuple[Entry, Key]] = []
        self._unseen: list[tuple[int, Entry, Key]] = []
        self._inside = False
        self._descriptions: dict[StreamIdentity, bytes] = {}
        self._streams: dict[bytes, int] = {}
        self._index = -1
        self._cells = Arena(_memory, SEGMENT)
        self._exemplars = Arena(_memory, EXEMPLAR_SEGMENT)

    def _open(self) -> None:
        self._reset()
        path = self.group.path
        unseen = path / f"{self._name}.new"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        self._index = os.open(unseen, flags | os.O_APPEND, 0o600)
        self._closing.append(self._index)
        runtime.locked(self._index)
        files = {}
        for suffix in (CELLS, EXEMPLARS):
            files[suffix] = os.open(path / (self._name + suffix), flags, 0o600)
            self._closing.append(files[suffix])
        self._write(records.MAGIC)
        if self._resource is not None:
            resource = self._resource()
            self._write(records.resource_record(resource.attributes, resource.schema_url))
        self._cells = Arena(_Growing(files[CELLS], self._fail), SEGMENT)
        self._exemplars = Arena(_Growing(files[EXEMPLARS], self._fail), EXEMPLAR_SEGMENT)
        # seen from here on: complete, and locked
        unseen.rename(path / (self._name + INDEX))

    def _abandon(self) -> None:
        for descriptor in self._closing:
            os.close(descriptor)
        for suffix in (".new", CELLS, EXEMPLARS):
            with contextlib.suppress(OSError):
                (self.group.path / (self._name + suffix)).unlink()
        self.group.leave()

    def _description(self, identity: StreamIdentity) -> bytes:
        found = self._descriptions.get(identity) if _hashable(identity) else None
        if found is None:
            found = records.describe(identity)
            if _hashable(identity):
                self._descriptions[identity] = found
        return found

    def _place(self, key: Key, unplaced: Entry) -> Block:
        """Cells for a series; whoever interrupts another leaves it to that to tell of both."""
        outermost = not self._inside
        self._inside = True
        try:
            cells, start, at = self._cells.take(unplaced.size * CELL)
            exemplars, exemplars_start, exemplars_at = (
                self._exemplars.take(unplaced.slots * SLOT) if unplaced.slots else (None, 0, -1)
            )
            heappush(self._unseen, (at, replace(unplaced, at=at // CELL, exemplars_at=exemplars_at), key))
            if outermost:
                self._show()
        finally:
            if outermost:
                self._inside = False
        return Block(cells.cast("d"), start // CELL, exemplars, exemplars_start, shared=True)

    def _show(self) -> None:
        """Tell of new series in the order of their cells: one that was interrupted by others comes before them."""
        while self._unseen:
            _, entry, key = heappop(self._unseen)
            self._entries.append((entry, key))
            if not self._private and (self._observes or not entry.identity.observed):
                self._announce(key, entry.at, entry.size, entry.started, (entry.exemplars_at, entry.slots))

    def _announce(self, key: Key, at: int, size: int, started: float, exemplars: tuple[int, int]) -> None:
        """Append to the index; only whole records ever stay in it."""
        number = self._streams.get(key[0])
        data = b""
        if number is None:
            number = len(self._streams)
            data = records.stream_record(number, key[0])
        data += records.series_record(number, at, size, started, exemplars, key[1])
        try:
            self._write(data)
        except OSError as error:
            let_through(error)
            self._fail(error)
        else:
            self._streams[key[0]] = number

    def _write(self, data: bytes) -> None:
        before = os.fstat(self._index).st_size
        written = os.write(self._index, data)
        if written < len(data):
            os.ftruncate(self._index, before)  # the index is read, never mapped
            raise OSError(errno.ENOSPC, "no space left for the index of metrics")

    def _fail(self, error: OSError) -> None:
        self._private = True
        self._guard.failed(PART, error, remedy=_REMEDY)


class _Growing:
    """Makes segments at the end of a file, or in memory when the file cannot grow.

    Args:
        descriptor: of the file.
        failed: called once with the reason.
    """

    def __init__(self, descriptor: int, failed: Any) -> None:
        self._descriptor = descriptor
        self._failed = failed
        self._maps: list[mmap.mmap] = []
        self._full = False

    def __call__(self, size: int, at: int) -> memoryview:
        size = -(-size // _PAGES) * _PAGES
        if not self._full:
            try:
                return self._grow(size, at)
            except OSError as error:
                let_through(error)
                self._full = True
                self._failed(error)
        return memoryview(bytearray(size))

    def _grow(self, size: int, at: int) -> memoryview:
        if at + size > MOST:
            raise OSError(errno.EFBIG, f"more than {MOST >> 20} MiB of metrics in one process")
        os.posix_fallocate(self._descriptor, at, size)
        made = mmap.mmap(self._descriptor, size, offset=at)
        self._maps.append(made)
        return memoryview(made)


def _memory(size: int, _: int) -> memoryview:
    return memoryview(bytearray(size))


def _hashable(identity: StreamIdentity) -> bool:
    return not identity.scope.attributes


def in_use(directory: Path) -> bool:
    """Whether a group's directory holds numbers of a process."""
    with contextlib.suppress(OSError):
        return any(name.endswith(INDEX) for name in os.listdir(directory))  # noqa: PTH208 - names are all it takes
    return False


def remove_files(directory: Path, name: str) -> None:
    """Remove the files of a process; the index last, since it stands for the others."""
    for suffix in (SOCKET, EXEMPLARS, CELLS, INDEX):
        with contextlib.suppress(FileNotFoundError):
            (directory / (name + suffix)).unlink()


def remove_unfinished(directory: Path, *, older_than: float) -> None:
    """Remove what a process left that died before its index was seen.

    Args:
        directory: of the group.
        older_than: seconds.
    """
    limit = time.time() - older_than
    with contextlib.suppress(OSError):
        names = {entry.name for entry in os.scandir(directory)}
        for name in names:
            stem, dot, suffix = name.rpartition(".")
            orphan = suffix == "new" or (f".{suffix}" in {CELLS, EXEMPLARS, SOCKET} and stem + INDEX not in names)
            if dot and orphan and (directory / name).stat().st_mtime < limit:
                (directory / name).unlink()
