"""Batches that wait to be sent: in memory, and while the collector is away in a directory if there is one.

When there is no room, the oldest goes first: after an outage people ask what happens now, backends refuse what is too
old, and the newest data is what an operator looks for. Everything that goes is counted by reason.
"""

from __future__ import annotations

import errno
import time
from collections import Counter, deque
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from otel_distro.guard import let_through

from .later import Later

if TYPE_CHECKING:
    from .directory import Directory, Stored

FULL, CORRUPT, SHUTDOWN = "spool full", "file unreadable", "not sent before the end"
GIVEN_UP = "not taken while others were"

TOO_LARGE = 413
"""The status of a request that was too large."""

_MOST_BYTES = 1_000_000
_MOST_POSTPONED = 3
_DISK_PAUSE = 30.0
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})
"""Errors of reading that say nothing of the file: an application that leaks descriptors has none left for it."""
_LOOK_AROUND = 10.0


def refused(status: int | None) -> str:
    """The reason under which is counted what a status has refused."""
    return f"refused with status {status}"


class Waiting:
    """One batch: its bytes, or the file they are in."""

    __slots__ = ("body", "born", "delivered", "halved", "items", "number", "postponed", "size", "stored")

    def __init__(self, number: int, born: int, items: int, kept: bytes | Stored) -> None:
        self.number = number
        self.born = born
        self.items = items
        self.body: bytes | None = kept if isinstance(kept, bytes) else None
        self.stored: Stored | None = None if isinstance(kept, bytes) else kept
        self.size = len(kept) if isinstance(kept, bytes) else kept.size
        self.postponed = 0
        self.delivered = 0
        self.halved = False


class Spool:
    """A bounded queue of encoded batches. Not thread-safe: the sender that owns it holds its lock around each call.

    What is being sent is never dropped; so memory may hold the limit and one request.

    Args:
        memory_limit: most bytes in memory.
        directory: where batches go while the collector is away, None for nowhere.
        directory_limit: most bytes in the directory for this target, of all processes together; each drops its own.
        later: gets the failures of the disk.
    """

    def __init__(self, *, memory_limit: int, directory: Directory | None, directory_limit: int, later: Later) -> None:
        self._memory_limit = memory_limit
        self._directory = directory
        self._directory_limit = directory_limit
        self._later = later
        self._disk_again = 0.0
        self._looked = 0.0
        self._start()

    def _start(self) -> None:
        self.dropped: Counter[str] = Counter()
        self.items = 0
        self.memory = 0
        self.disk = 0
        self.last_number = 0
        self._queue: deque[Waiting] = deque()
        self._sending = 0
        self._others = 0
        self._postponed: Waiting | None = None

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def first_number(self) -> int:
        """The number of the oldest batch of this process that waits; above all numbers when none does."""
        return min((one.number for one in self._queue if one.number), default=self.last_number + 1)

    @property
    def has_directory(self) -> bool:
        """Whether what is left at the end is kept."""
        return self._directory is not None

    def put(self, body: bytes, items: int, *, away: bool, stay: bool = False) -> None:
        """Let a batch wait.

        Args:
            body: the encoded request.
            items: how many spans, points or records are in it.
            away: whether the collector is away; then it goes to the directory at once.
            stay: for callers that may not wait for the disk; it goes there with the next failure.
        """
        self.last_number += 1
        waiting = Waiting(self.last_number, time.time_ns(), items, body)
        self._queue.append(waiting)
        self.items += items
        self.memory += waiting.size
        if (away or self.memory > self._memory_limit) and not stay:
            self._store(waiting)
        self._make_room()

    def take(self, most_items: int, refused_size: int = 0) -> tuple[int, bytes]:
        """The oldest batches, joined as one request of at most `most_items` and 1 MB (or a single one, however large).

        They stay here while they are being sent, until `done`, `smaller` or `failed`.

        Args:
            most_items: how many spans, points or records a request of several batches may hold.
            refused_size: bytes of a request that was too large, 0 for none. Batches are joined up to half of that; one
                that is nearly as large is halved, and what is left of one and is as large goes, counted.

        Returns:
            How many items, and the request; 0 and nothing when nothing waits.

        Raises:
            OSError: the oldest is in a file that cannot be read now, and can be later.
        """
        bodies: list[bytes] = []
        items = size = 0
        most_bytes = min(_MOST_BYTES, refused_size // 2) if refused_size else _MOST_BYTES
        while len(bodies) < len(self._queue):
            waiting = self._queue[len(bodies)]
            if bodies and (items + waiting.items > most_items or size + waiting.size > most_bytes):
                break
            try:
                body = self._body(waiting)
            except OSError as error:
                let_through(error)
                name = waiting.stored.name if waiting.stored is not None else ""
                if error.errno in _PASSING:
                    self._later.failed(
                        "spool directory, reading", f"{name}: {error.strerror}", remedy="it is tried again"
                    )
                    if bodies:
                        break
                    raise
                self._later.failed("spool directory, a file", f"{name}: {error}", remedy="it is left out and counted")
                self._drop(waiting, CORRUPT)
                continue
            if refused_size and len(body) > 3 * refused_size // 4 and not self._fits(waiting, body, refused_size):
                continue
            bodies.append(body)
            items, size = items + waiting.items, size + len(body)
        self._sending = len(bodies)
        return items, bodies[0] if len(bodies) == 1 else b"".join(bodies)

    def _fits(self, waiting: Waiting, body: bytes, refused_size: int) -> bool:
        """Whether a large batch may be sent as it is; else two others are in its place, or it is dropped."""
        if self._halve(waiting, body):
            return False
        if waiting.halved and len(body) >= refused_size:
            self._drop(waiting, refused(TOO_LARGE))
            return False
        return True

    def _halve(self, waiting: Waiting, body: bytes) -> bool:
        from .halves import halves

        made = halves(body)
        if made is None:
            return False
        (part, first), (_, second) = made
        items = min(max(round(waiting.items * part), 1), max(waiting.items - 1, 1))
        at, born = self._queue.index(waiting), waiting.born or time.time_ns()
        # the same number, so that who waits for it waits for both; files are told apart by the time
        for more, (count, half) in enumerate(((items, first), (waiting.items - items, second))):
            new = Waiting(waiting.number, born + more, count, half)
            new.halved = True
            self._queue.insert(at + more, new)
            self.items += count
            self.memory += new.size
            if waiting.stored is not None:
                self._store(new)
        self._remove(waiting)
        return True

    @property
    def sending(self) -> int:
        """How many batches are in the request under way."""
        return self._sending

    def let_go(self) -> None:
        """What was taken is not being sent after all."""
        self._sending = 0

    def smaller(self) -> bool:
        """What was taken was too large: let it go, to be taken as less; False where there is no less."""
        if self._sending == 1:
            waiting = self._queue[0]
            try:
                if not self._halve(waiting, self._body(waiting)):
                    return False
            except OSError as error:
                let_through(error)  # else `take` says it
        self._sending = 0
        return True

    def done(self, refused: str | None = None) -> None:
        """What was taken is settled: delivered, or refused for the reason given (its items are counted as dropped)."""
        taken = [self._queue[at] for at in range(self._sending)]
        self._sending = 0
        for waiting in taken:
            if refused is not None:
                self.dropped[refused] += waiting.items
            self._remove(waiting)

    def failed(self) -> None:
        """What was taken was not delivered, the collector is away: all goes to the directory, if there is one."""
        self._sending = 0
        for waiting in list(self._queue):
            if waiting.stored is None and not self._store(waiting):
                break

    def postpone(self, delivered: int) -> bool:
        """Let the next go before the oldest, which the collector answers again and again but does not take.

        When others have been delivered since, three times, the batch itself is the reason, and it is given up.

        Args:
            delivered: how many items the collector has taken so far.

        Returns:
            Whether another is first now.
        """
        if len(self._queue) < 2:
            return False
        head = self._queue[0]
        head.postponed += not head.postponed or delivered > head.delivered
        head.delivered = delivered
        if head.postponed > _MOST_POSTPONED:
            self._drop(head, GIVEN_UP)
            return False
        self._queue.rotate(-1)
        self._postponed = head
        return True

    def put_back(self) -> None:
        """The next was not taken either, so it is not the batch: it goes first again, as it came."""
        head, self._postponed = self._postponed, None
        if head is not None and head in self._queue:
            self._queue.remove(head)
            self._queue.appendleft(head)

    def adopt(self) -> int:
        """Put what dead processes have left in front of what waits, oldest first; returns how many items that is."""
        if self._directory is None:
            return 0
        try:
            stored, foreign = self._directory.adopt()
            self._directory.tidy()
        except OSError as error:
            let_through(error)
            self._disk_failed(error)
            return 0
        for name in foreign:
            self._later.failed("spool directory, a file that is not ours", name, remedy="it is left where it is")
        for one in reversed(stored):
            self._queue.insert(self._sending, Waiting(0, 0, one.items, one))
        self.disk += sum(one.size for one in stored)
        adopted = sum(one.items for one in stored)
        self.items += adopted
        return adopted

    def close(self, left: Callable[[], float]) -> tuple[int, int]:
        """End: what waits goes to the directory as far as `left()` seconds allow; the rest is dropped.

        Returns:
            Items kept in the directory and items dropped.
        """
        self._sending = 0
        for waiting in list(self._queue):
            if waiting.stored is None and (left() <= 0 or not self._store(waiting)):
                self._drop(waiting, SHUTDOWN)
        kept, dropped = self.items, self.dropped[SHUTDOWN]
        if self._directory is not None:
            try:
                self._directory.close()
            except OSError as error:
                self._disk_failed(error)
        self._queue.clear()
        self.items = self.memory = self.disk = 0
        return kept, dropped

    def drop_all(self, reason: str) -> None:
        """Nothing of what waits will ever be sent."""
        self._sending = 0
        for waiting in list(self._queue):
            self._drop(waiting, reason)

    def after_fork(self) -> None:
        """A child starts empty: what waits is the parent's, who will send it."""
        if self._directory is not None:
            self._directory.after_fork()
        self._start()

    def _body(self, waiting: Waiting) -> bytes:
        if waiting.body is not None:
            return waiting.body
        assert self._directory is not None and waiting.stored is not None  # noqa: S101, PT018 - for the type checker
        return self._directory.read(waiting.stored)

    def _store(self, waiting: Waiting) -> bool:
        """Move a batch from memory to the directory; False when that is not possible now."""
        if self._directory is None or waiting.body is None or time.monotonic() < self._disk_again:
            return False
        try:
            waiting.stored = self._directory.write(waiting.body, waiting.items, waiting.born, waiting.number)
        except OSError as error:
            let_through(error)
            self._disk_failed(error)
            return False
        waiting.body = None
        self.memory -= waiting.size
        waiting.size = waiting.stored.size
        self.disk += waiting.size
        self._look_around()
        return True

    def _disk_failed(self, error: OSError) -> None:
        self._disk_again = time.monotonic() + _DISK_PAUSE
        where = "" if self._directory is None else f"{self._directory.root}: "
        reason = f"{where}{error.strerror}" if error.strerror else str(error)
        self._later.failed(
            "spool directory", reason, remedy="batches wait in memory; give OTEL_DISTRO_SPOOL_DIR room and rights"
        )

    def _look_around(self) -> None:
        """See now and then how much the other processes have for the same target."""
        now = time.monotonic()
        if self._directory is not None and now - self._looked > _LOOK_AROUND:
            self._looked = now
            self._others = max(self._directory.sizes() - self.disk, 0)

    def _make_room(self) -> None:
        while self.memory > self._memory_limit and self._drop_oldest(stored=False):
            pass
        while self.disk + self._others > self._directory_limit and self._drop_oldest(stored=True):
            pass

    def _drop_oldest(self, *, stored: bool) -> bool:
        """Drop the oldest batch in files, or in memory; False when only the newest or the one being sent is there."""
        for waiting in islice(self._queue, self._sending, None):
            if (waiting.stored is not None) is stored:
                if waiting is self._queue[-1]:
                    return False
                self._drop(waiting, FULL)
                return True
        return False

    def _drop(self, waiting: Waiting, reason: str) -> None:
        self.dropped[reason] += waiting.items
        self._remove(waiting)

    def _remove(self, waiting: Waiting) -> None:
        try:
            self._queue.remove(waiting)  # found at once: what goes is in front
        except ValueError:
            return
        self.items -= waiting.items
        if waiting.stored is not None and self._directory is not None:
            self._directory.remove(waiting.stored)
            self.disk -= waiting.size
        else:
            self.memory -= waiting.size
