"""What dead processes have counted, folded into one file, each process once.

The new file names the processes that are in it and takes the old one's place in one step; their own files
go afterwards. A crash between the two leaves files that every reader knows to be folded already. Two
foldings never run at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from otel_distro.metrics.cells import CELL
from otel_distro.records import dataclass, field

from . import records, runtime
from .member import LARGEST, Member, Place, opened
from .member import read as read_file
from .merge import Layout, Pause, Table, lasts
from .store import remove_files

NAME: Final = "folded"
_LOCK: Final = "folding"


@dataclass(slots=True)
class Folded:
    """The content of the file.

    Args:
        version: differs for every file there was; (0, 0) when there is none.
        processes: whose numbers are in it.
        places: its series.
        cells: their values, and a 0.0 behind them.
        damaged: it is there and cannot be read.
    """

    version: tuple[int, int] = (0, 0)
    processes: frozenset[str] = frozenset()
    places: list[Place] = field(default_factory=list)
    cells: list[float] = field(default_factory=lambda: [0.0])
    damaged: bool = False


def version(directory: Path) -> tuple[int, int]:
    """Which file is there now."""
    try:
        found = (directory / NAME).lstat()
    except OSError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


def read(directory: Path) -> Folded:
    """The file's content; empty when there is none, or none that can be read."""
    for _ in range(3):
        before = version(directory)
        if before == (0, 0):
            return Folded()
        with contextlib.suppress(FileNotFoundError):
            try:
                data = _content(directory / NAME)
                if version(directory) == before:
                    return _parse(data, before)
            except (OSError, ValueError, KeyError, TypeError, struct.error):
                return Folded(before, damaged=True)
    return Folded()


def fold(directory: Path, dead: Sequence[Member], limit: int, pause: Pause) -> list[Member]:
    """Fold these processes, as far as they are dead and not folded yet; returns those.

    Args:
        directory: of the group.
        dead: probably dead; each one's lock is taken, or it is left alone.
        limit: series a stream.
        pause: called between slices of work.

    Raises:
        OSError: the new file cannot be written; nothing has changed then.
    """
    lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        if not runtime.locked(lock):
            return []
        before = read(directory)
        if before.damaged:
            return []  # never write over numbers that cannot be read
        # one whose files are gone was folded by someone else, and may have been forgotten since
        mine = [member for member in dead if member.there() and member.seize()]
        new = [member for member in mine if member.name not in before.processes]
        if new:
            _write(directory, before, new, limit, pause)
        for member in mine:
            remove_files(directory, member.name)
        return new
    finally:
        runtime.release(lock)


def _write(directory: Path, before: Folded, new: Sequence[Member], limit: int, pause: Pause) -> None:
    table = Table(limit, pause)
    vectors: list[list[float]] = []
    for places, cells in [(before.places, before.cells), *_contents(new)]:
        layout = Layout()
        try:
            table.learn(layout, places)
        except (ValueError, TypeError, KeyError):
            continue  # what a damaged process left cannot be told apart from nonsense
        vectors.append(table.align(layout, cells))
    totals = table.total(vectors)
    # a folded process whose files are gone need not be remembered
    there = {name for name in before.processes if (directory / f"{name}.index").exists()}
    data = [records.MAGIC, records.frame(records.FOLDED, json.dumps(sorted(there | {m.name for m in new})).encode())]
    kept: list[float] = []
    streams: dict[bytes, int] = {}
    for entry in table.entries:
        if not lasts(entry.identity):
            continue
        description = records.describe(entry.identity)
        if description not in streams:
            streams[description] = len(streams)
            data.append(records.stream_record(streams[description], description))
        attributes = records.attributes_bytes(entry.attributes)
        number = streams[description]
        data.append(records.series_record(number, len(kept), entry.size, entry.started, (-1, 0), attributes))
        kept += totals[entry.at : entry.at + entry.size]
        if len(data) % 1000 == 0:
            pause()
    data.append(records.frame(records.VALUES, struct.pack(f"<{len(kept)}d", *kept)))
    unfinished = directory / f"{NAME}.{os.getpid()}.tmp"
    try:
        unfinished.write_bytes(b"".join(data))
        unfinished.rename(directory / NAME)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def _contents(members: Sequence[Member]) -> list[tuple[list[Place], Sequence[float]]]:
    found = []
    for member in members:
        member.refresh()
        if member.places:
            found.append((member.places, member.cells()))
    return found


def _content(path: Path) -> bytes:
    descriptor = opened(path)
    try:
        return read_file(descriptor, LARGEST, 0)
    finally:
        os.close(descriptor)


def _parse(data: bytes, known: tuple[int, int]) -> Folded:
    if not data.startswith(records.MAGIC):
        raise ValueError("not a file of ours")
    made = Folded(known)
    streams: dict[int, bytes] = {}
    whole = False
    for kind, payload, _ in records.frames(data, len(records.MAGIC)):
        if kind == records.FOLDED:
            made.processes = frozenset(json.loads(payload))
        elif kind == records.STREAM:
            number, description = records.read_stream(payload)
            streams[number] = description
        elif kind == records.SERIES:
            stream, at, size, started, exemplars_at, slots, attributes = records.read_series(payload)
            made.places.append(Place((streams[stream], attributes), at, size, started, exemplars_at, slots))
        elif kind == records.VALUES:
            made.cells = [*struct.unpack(f"<{len(payload) // CELL}d", payload), 0.0]
            whole = True
    if not whole or (made.places and made.places[-1].at + made.places[-1].size != len(made.cells) - 1):
        raise ValueError("the file is not complete")
    return made
