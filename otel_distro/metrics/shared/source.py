"""The numbers of the whole group: this process, every other live one, and what the dead ones left."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from otel_distro.guard import Guard
from otel_distro.metrics.exemplars import SLOT, unpack
from otel_distro.metrics.provider import LeanMeterProvider
from otel_distro.metrics.source import Exemplar, LocalSource, Snapshot, filled_slots, slot_times
from otel_distro.process import unforked
from otel_distro.records import dataclass, field

from . import fold
from .member import Member, Place, names
from .merge import Layout, Pause, Table
from .store import SharedStore, remove_unfinished

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData

_TRIES: Final = 5
_BATCH: Final = 64  # processes that are opened before the dead among them are folded
_PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})
PART: Final = "metrics: group"


@dataclass(slots=True)
class _Known:
    """A process of the group, how its cells lie in the table, and when its last numbers were pushed (monotonic)."""

    member: Member
    layout: Layout = field(default_factory=Layout)
    seen: Sequence[float] = field(default_factory=list)
    told: float = 0.0


class GroupSource:
    """Snapshots of the group.

    Args:
        provider: of this process, whose store is a `SharedStore`.
        store: the same.
        guard: gets one warning for files that are not ours or damaged.
        pause: called between slices of work.
        limit: series a stream, over all processes.
        refresh: asks the other processes for what their callbacks say now.
        timeout_millis: that callbacks of this process may take.
        killed: gets the last numbers of each process that is dead and had not ended in order.
        delivery: seconds after which they may be taken for delivered.
    """

    def __init__(
        self,
        provider: LeanMeterProvider,
        store: SharedStore,
        guard: Guard,
        *,
        pause: Pause,
        limit: int = 2000,
        refresh: Callable[[], None] = lambda: None,
        timeout_millis: float = 5000,
        killed: Callable[[MetricsData], object] | None = None,
        delivery: float = 5.0,
    ) -> None:
        self._provider = provider
        self._store = store
        self._guard = guard
        self._pause = pause
        self._limit = limit
        self._refresh = refresh
        self._timeout = timeout_millis
        self._killed = killed
        self._delivery = delivery
        self._alone = LocalSource(provider, timeout_millis=timeout_millis)
        self._known: dict[str, _Known] = {}
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        """Know nothing of the group, as at the start."""
        for known in self._known.values():
            known.member.close()
        self._table = Table(self._limit, self._pause)
        self._own = Layout()
        self._places: list[Place] = []
        self._folded = fold.Folded()
        self._folded_layout = Layout()
        self._known = {}
        self._strange: set[str] = set()
        self._exemplars: dict[tuple[int, int], Exemplar] = {}
        self._own_seen: Sequence[float] = []

    def snapshot(self, *, exemplars: bool) -> Snapshot:
        """See `Source.snapshot`; when the group cannot be read, this process alone.

        Raises:
            OSError: for the moment it cannot be read; a scrape that fails is better than a total that falls.
        """
        self._refresh()
        self._provider.observe_within(self._timeout)
        with self._one_at_a_time():
            try:
                cells, dead = self._consistent()
                found = self._all_exemplars() if exemplars else {}
            except Exception as error:
                if isinstance(error, TimeoutError) or getattr(error, "errno", 0) in _PASSING:
                    raise
                self._guard.failed(PART, error, remedy="this process's own numbers are shown")
                self._forget()
                return self._alone.snapshot(exemplars=exemplars)
            if dead:
                self._fold(dead)
            version = (id(self._table), len(self._table.entries), self._table.revision)
            return Snapshot(self._table.entries[:], version, cells, found)

    def tidy(self) -> None:
        """Fold the dead and remove what they left; for a quiet moment between scrapes.

        Raises:
            OSError: the directory cannot be read.
        """
        with self._one_at_a_time():
            self._list()
            dead = [known.member for known in self._known.values() if not known.member.alive()]
            # folded by a process that ended before it could remove the files
            left = set(names(self._store.group.path)) & self._folded.processes
            dead += [self._known[name].member for name in left if self._open(name)]
            if dead:
                self._fold(dead)
        remove_unfinished(self._store.group.path, older_than=60)

    def forget(self) -> None:
        """Know nothing of the group from the next snapshot on: this process has joined another one."""
        self._pid = 0

    def _one_at_a_time(self) -> threading.Lock:
        """The lock of everything below; a forked child has its own, and knows nothing."""
        if self._pid != os.getpid():
            self._pid, self._lock = os.getpid(), threading.Lock()
            self._forget()
        return self._lock

    def _fold(self, dead: Sequence[Member], *, at_once: bool = False) -> None:
        """Fold these processes; they are read on as they are when that fails, or has to wait."""
        ready = [member for member in dead if self._spoken_for(member, at_once=at_once)]
        if not ready:
            return
        try:
            folded = fold.fold(self._store.group.path, ready, self._limit, self._pause)
            self._store.killed += sum(member.killed() for member in folded)
        except OSError as error:
            self._guard.failed(PART, error, remedy="files of ended processes stay until there is room")
        for member in ready:
            if not member.there():
                self._close(member.name)

    def _spoken_for(self, member: Member, *, at_once: bool) -> bool:
        """Whether the last numbers of a killed process have been pushed, long enough ago to have been delivered.

        Until then its files stay: were this process killed as well, the next one would find and push them.
        """
        if self._killed is None:
            return True
        if self._provider.closed:
            return False  # whoever pushes no more leaves the dead to somebody who does
        self._guard.call(PART, False, member.refresh, self._pause)
        if member.resource is None or member.ended:
            return True
        known = self._known[member.name]
        if not known.told:
            known.told = time.monotonic()
            with unforked():
                from .last import last_numbers  # late: the metrics SDK comes along
            data = self._guard.call(PART, None, last_numbers, member, member.cells(), time.time_ns())
            if data is not None:
                self._guard.call(PART, None, self._killed, data)
        return at_once or time.monotonic() - known.told >= self._delivery

    def _consistent(self) -> tuple[list[float], list[Member]]:
        """All cells as one, and the processes that are dead; read anew when a folding happened in between."""
        for _ in range(_TRIES):
            self._read_folded()
            self._list()
            self._pause()
            vectors, dead = self._vectors()
            if fold.version(self._store.group.path) == self._folded.version:
                return self._table.total(vectors), dead
        raise TimeoutError("processes end faster than their numbers can be read")

    def _read_folded(self) -> None:
        if fold.version(self._store.group.path) == self._folded.version:
            return
        self._folded = fold.read(self._store.group.path)
        self._folded_layout = Layout()
        if self._folded.damaged:
            self._guard.failed(PART, "the numbers of ended processes are damaged", remedy="they are left out")

    def _list(self) -> None:
        """Open processes that are new, close those whose files have gone or were folded.

        Raises:
            OSError: there are no file descriptors left.
        """
        directory = self._store.group.path
        there = set(names(directory)) - {self._store.name}
        for name in [n for n in self._known if n not in there or n in self._folded.processes]:
            self._close(name)
        # those that are folded and not yet removed are opened too, by the folding that removes them
        new = sorted(there - self._known.keys() - self._strange - self._folded.processes)
        for start in range(0, len(new), _BATCH):
            opened = [name for name in new[start : start + _BATCH] if self._open(name)]
            self._pause()
            if len(new) > _BATCH:
                # thousands of ended processes: fold as they come, not to hold all of them open
                self._fold([self._known[n].member for n in opened if not self._known[n].member.alive()], at_once=True)
        if len(new) > _BATCH:
            self._read_folded()

    def _open(self, name: str) -> bool:
        try:
            self._known[name] = _Known(Member(self._store.group.path, name))
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            if getattr(error, "errno", 0) in _PASSING:
                raise
            self._ignore(name, error)
            return False
        return True

    def _close(self, name: str) -> None:
        known = self._known.pop(name, None)
        if known is not None:
            known.member.close()

    def _vectors(self) -> tuple[list[list[float]], list[Member]]:
        table = self._table
        described = self._store.described(len(self._places))
        self._places += [Place(key, e.at, e.size, e.started, e.exemplars_at, e.slots) for e, key in described]
        table.learn(self._own, self._places)
        table.learn(self._folded_layout, self._folded.places)
        vectors = [table.align(self._own, [*self._store.read().tolist(), 0.0])] if self._places else []
        if self._folded.places:
            vectors.append(table.align(self._folded_layout, self._folded.cells))
        dead = []
        for name, known in list(self._known.items()):
            # whether it lives is asked before it is read: what it counts and dies after is then in what is read
            alive = known.member.alive()
            try:
                known.member.refresh(self._pause)
                table.learn(known.layout, known.member.places)
            except (OSError, ValueError, TypeError, KeyError) as error:
                self._ignore(name, error)
                continue
            if known.member.damaged:
                self._guard.failed(
                    PART, f"the index of process {name} is damaged", remedy="its later series are left out"
                )
            if known.member.places:
                vector = table.align(known.layout, known.member.cells())
                if not alive:
                    for at in known.layout.transient:
                        vector[at] = 0.0
                vectors.append(vector)
            if not alive:
                dead.append(known.member)
            self._pause()
        return vectors, dead

    def _ignore(self, name: str, error: Exception) -> None:
        self._close(name)
        self._strange.add(name)
        self._guard.failed(PART, error, remedy=f"{name} in the directory of the group is ignored")

    def _all_exemplars(self) -> dict[tuple[int, int], Exemplar]:
        """The youngest exemplar of every series and slot; only those that are new are decoded."""
        self._own_seen = self._take(self._places, self._own, self._store.read_exemplars(), self._own_seen)
        for known in self._known.values():
            known.seen = self._take(known.member.places, known.layout, known.member.exemplars(), known.seen)
            self._pause()
        return self._exemplars

    def _take(self, places: list[Place], layout: Layout, region: bytes, seen: Sequence[float]) -> Sequence[float]:
        times = slot_times(region)
        if times == seen:
            return seen
        new = filled_slots(region, seen)
        for place, index in zip(places, layout.indices, strict=False):
            first = place.exemplars_at // SLOT
            for slot in range(place.slots):
                if first + slot in new:
                    self._keep((index, slot), region[(first + slot) * SLOT : (first + slot + 1) * SLOT])
        return times

    def _keep(self, key: tuple[int, int], slot: bytes) -> None:
        found = unpack(slot)
        if found is not None and found[1] >= self._exemplars.get(key, found)[1]:
            self._exemplars[key] = found
