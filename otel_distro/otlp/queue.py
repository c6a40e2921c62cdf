"""Ended spans and log records wait here as bytes, until they are sent.

A span is encoded by the application's thread, where it ends or with some others that ended just before (`Ledger`).
Handing it to a thread that encodes cost ten times as much, because a thread that needs the interpreter is woken by
every turn of a busy event loop, and mostly in vain. For the same reason who completes a batch sends it, and who adds to
one whose delay is over, where the kernel takes it without waiting: an open connection, no TLS, no packing. That takes
half a millisecond for 512 spans, so what was encoded with many others is sent by the next. The sender's own thread does
all the rest: what the delay brings where nothing is added any more, whatever has to be waited for, whatever goes wrong.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate, repeat
from operator import call, itemgetter
from time import monotonic
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from otel_distro import settings
from otel_distro._compat import FLAGS
from otel_distro.guard import Guard, start_thread
from otel_distro.ledger import FEW, TOGETHER, Ledger
from otel_distro.process import Deadline, in_forked_child

from ._batch import Encoded, Piece, breathe

if TYPE_CHECKING:
    from .encode_traces import SpanEncoder
    from .pieces import PieceEncoder, PieceExporter

_SAMPLED = 1
_NEVER = sys.maxsize
_LOOK = 64
"""After so many further items it is looked whether the delay is over."""
_LATE = 2
"""Batches that wait before the sender's thread is called: a busy event loop keeps it waiting for hundreds of turns."""
_MOST_BYTES = 1_000_000
"""Of a batch, and one item more: joining and sending so many takes milliseconds, in which the interpreter is held."""
_BATCHES_KEPT = 2
_BYTES = itemgetter(2)
_OURS = 0.9
"""The part of a shutdown's time that is used: whoever waits for it counts from an earlier moment."""


class PieceQueue:
    """Encodes at once and sends in batches.

    Args:
        exporter: where to.
        encoder: the exporter's `pieces`.
        batch: how many may wait, how long, and how many make a request. What waits beyond `max_queue_size` while the
            sender is held up goes to its spool, which is bounded in bytes; twice as many wait while that is locked.
        guard: gets what goes wrong.
    """

    items = "spans"
    variable = "OTEL_BSP_MAX_QUEUE_SIZE"

    def __init__(self, exporter: PieceExporter, encoder: PieceEncoder, *, batch: settings.Batch, guard: Guard) -> None:
        self._exporter = exporter
        self._piece = encoder.piece
        self._join = encoder.join
        self._guard = guard
        self._size = batch.max_queue_size
        self._batch = min(batch.max_export_batch_size, batch.max_queue_size)
        self._closed = False
        self._keeps = False
        self._start()
        self._every = batch.schedule_delay / 1000
        self._wake = exporter.feed(self._fetch, self._every)
        in_forked_child(self._after_fork, guard.failed)

    def _start(self) -> None:
        self._queue: deque[Piece] = deque()
        self._room = -1 if self._closed else self._size
        # the first span finds a mark of zero and starts the thread; later the mark is a full batch, or never while
        # the thread has been called already
        self._mark = 0
        self._due = 0.0
        self._left_over = False
        self._draining = threading.Lock()
        self._inside: set[int] = set()
        self._end_within: float | None = None
        self._last: deque[list[Piece]] = deque(maxlen=_BATCHES_KEPT)
        self._counts: dict[str, int] = dict.fromkeys(("exported", "failed", "queue_full", "after_shutdown"), 0)

    def _after_fork(self) -> None:
        # what waited belongs to the parent, which sends it
        self._start()

    def __len__(self) -> int:
        """How many spans wait."""
        return len(self._queue)

    def counts(self) -> Mapping[str, int]:
        """What became of the items: given to the senders, not given, dropped for want of room, come too late."""
        return dict(self._counts)

    def keep(self) -> Callable[[], Sequence[Piece]]:
        """Keep the last batches from now on.

        Returns:
            What gives the items of the last batches and those that wait, oldest first; may be called at any moment.
        """
        self._keeps = True
        return self._recent

    def _recent(self) -> Sequence[Piece]:
        self.settle()
        # looked at twice: a batch may be taken meanwhile, or come back because nobody could send it now
        before, waiting, after = self._kept(), tuple(self._queue), self._kept()
        return list({id(piece): piece for piece in (*before, *after, *waiting)}.values())

    def _kept(self) -> list[Piece]:
        return [piece for batch in tuple(self._last) for piece in batch]

    def settle(self, seconds: float = 1.0) -> None:
        """Encode what waits to be encoded, also what another thread has begun: nothing here."""

    def _gather(self) -> None:
        """The same, without waiting for others."""

    def put(self, item: Any) -> None:
        """Take an item; takes no lock and never waits."""
        queue = self._queue
        waiting = len(queue)
        if waiting >= self._room and not self._make_room():
            return
        queue.append(self._piece(item))
        if waiting >= self._mark:
            self._look()

    def _look(self) -> None:
        """So many wait that it is time to look: for a full batch, or for one whose delay is over."""
        if self._mark == 0:
            # where no thread can be started a flush or the shutdown sends what waits
            self._due = monotonic() + self._every
            if not self._wake() and len(self._queue) < self._batch:
                return  # the next one tries it again
        if not self._leaves():
            self._look_later()
            return
        self._gather()
        if not self._leaves():
            self._look_later()  # that has sent them
            return
        self._left_over = False
        done = self._handed_over_now()
        if not done and not self._left_over:
            # mostly the sender's thread has its lock and waits for the interpreter
            breathe()
            done = self._handed_over_now()
        if self._left_over or not (done or len(self._queue) < _LATE * self._batch):
            self._mark = _NEVER
            self._wake()
        else:
            self._look_later()

    def _leaves(self) -> bool:
        """Whether a batch is full, or the delay over."""
        return len(self._queue) >= self._batch or monotonic() >= self._due

    def _look_later(self) -> None:
        self._mark = min(len(self._queue) + _LOOK, self._batch) - 1

    def _handed_over_now(self) -> bool:
        """Give what waits to the senders from here, which wakes no thread where they can send it without waiting."""
        draining, here = self._draining, threading.get_ident()
        if here in self._inside:
            return True  # this is a signal handler's span, and what it interrupts goes on
        # before the lock is taken: a signal may come straight after
        self._inside.add(here)
        try:
            if not draining.acquire(blocking=False):
                return True  # somebody does it at this moment
            try:
                done = self._hand_over(self._exporter.hand_over_now)
            finally:
                draining.release()
        finally:
            self._inside.discard(here)
            self._left()
        if done:
            # without the lock, and when everything is counted: this gives the interpreter up
            self._exporter.postpone()
        return done

    def _left(self) -> None:
        # an end that a signal's handler asked for, where it had interrupted this thread
        within = self._end_within
        if within is not None and not self.is_interrupted():
            self._end_within = None
            self._end_beside(within)

    def _end_beside(self, milliseconds: float) -> None:
        # in a thread of its own: where the handler raised, a lock may never be given up, and nobody waits for that
        ending = threading.Thread(target=self.shutdown, args=(milliseconds,), name="otel-distro-end", daemon=True)
        # else the process ends, and `atexit` does the same
        if start_thread(ending):
            ending.join(milliseconds / 1000)

    def is_interrupted(self) -> bool:
        """Whether the caller is a signal handler that has interrupted this thread where it sends a batch.

        The locks are then given up only after the handler has returned: nobody may wait for them meanwhile.
        """
        return threading.get_ident() in self._inside

    def _make_room(self) -> bool:
        """The sender is held up: move what waits to its spool from here; False when the span must be dropped."""
        if self._closed:
            self._counts["after_shutdown"] += 1
            return False
        self._handed_over_now()
        # more where a thread that empties it, or has the spool's lock, only waits for the interpreter
        if len(self._queue) < 2 * self._size:
            return True
        self._counts["queue_full"] += 1
        self._guard.warn(
            f"exporter otlp: {self._size} {self.items} wait, further ones are dropped and counted; "
            f"raise {self.variable} if the collector is well",
            once=f"{self.items} queue full",
        )
        return False

    def _fetch(self) -> float:
        """Called by the sender's thread whenever the delay is over or it was woken.

        Returns:
            Seconds until it need not look again, as far as is known now.
        """
        left = self._due - monotonic()
        if left > 0 and self._mark != _NEVER:
            # the application's threads see to it: a thread that gets the interpreter from a busy event loop is woken by
            # each of its turns, for tenths of a second, and each of those wakings costs the loop some microseconds
            return left
        self.settle()
        with self._draining:
            self._hand_over(self._exporter.hand_over)
            self._look_later()
        return self._every

    def _hand_over(self, hand_over: Callable[[Callable[[], Encoded]], bool]) -> bool:
        """Join what waits to batches and give them to the senders; whether they took them all."""
        queue, taken = self._queue, True
        count = len(queue)
        if count == 0:
            self._due = monotonic() + self._every
        now = hand_over == self._exporter.hand_over_now
        while count > 0 and queue:
            most = min(len(queue), count, self._batch)
            pieces: list[Piece] = []
            try:
                self._take(pieces, most)
            except BaseException:
                queue.extendleft(reversed(pieces))
                raise
            count -= len(pieces)
            if hand_over(partial(self._joined, pieces)):
                self._counts["exported"] += len(pieces)
                self._due = monotonic() + self._every
                if now and len(pieces) < most:
                    # large ones: the sender's thread does the rest, and others get their turn
                    self._left_over = True
                    return False
                if now and len(queue) < self._batch:
                    return True  # the rest is no batch yet
            elif now:
                queue.extendleft(reversed(pieces))
                if self._keeps and self._last:
                    self._last.pop()
                return False
            else:
                self._counts["failed"] += len(pieces)
                taken = False
        return taken

    def _take(self, pieces: list[Piece], most: int) -> None:
        """Move the oldest that wait to `pieces`, as many and as large as a batch may be."""
        queue = self._queue
        if self._keeps:
            # before anything is taken, or there would be a moment in which that is nowhere
            self._last.append(pieces)
        # no signal's handler comes between the steps of `map`, here and below
        pieces.extend(map(call, repeat(queue.popleft, most)))
        if sum(map(len, map(_BYTES, pieces))) <= _MOST_BYTES:
            return
        sizes = accumulate(map(len, map(_BYTES, pieces)))
        kept = next(number for number, size in enumerate(sizes, 1) if size >= _MOST_BYTES)
        queue.extendleft(map(call, repeat(pieces.pop, most - kept)))

    def _joined(self, pieces: list[Piece]) -> Encoded:
        try:
            return self._join(pieces)
        except BaseException as error:
            if not isinstance(error, Exception):
                # a signal handler's, which goes on through the application: the next batch takes them along
                self._queue.extendleft(reversed(pieces))
            raise

    def force_flush(self, timeout_millis: int | None = 30000) -> bool:
        """Send everything that waits now.

        Returns:
            False when something was not delivered, the time was over, after a shutdown, or in a signal handler that has
            interrupted the sending of a batch.
        """
        if self._closed or self.is_interrupted():
            return False
        deadline = Deadline((30000 if timeout_millis is None else timeout_millis) / 1000)
        return self._drain(deadline) and self._exporter.force_flush(deadline.left() * 1000)

    def shutdown(self, timeout_millis: float = 2000) -> None:
        """Send what waits and end the exporter, within `timeout_millis` whatever the network does.

        In a signal handler that has interrupted the sending of a batch this happens when the handler has ended.
        """
        if self._closed:
            return
        if self.is_interrupted():
            self._end_within = timeout_millis
            return
        deadline = Deadline(timeout_millis / 1000 * _OURS)
        self.settle(deadline.left())
        self._closed = True
        self._room = -1
        self._drain(deadline)
        self._exporter.shutdown(deadline.left() * 1000)

    def _drain(self, deadline: Deadline) -> bool:
        here = threading.get_ident()
        try:
            # what a signal's handler interrupts here must be known to it
            self._inside.add(here)
            self.settle(deadline.left())
            if not self._draining.acquire(timeout=deadline.left()):
                return False
            try:
                return self._hand_over(self._exporter.hand_over)
            finally:
                self._draining.release()
        finally:
            self._inside.discard(here)
            self._left()


class SpanQueue(PieceQueue, SpanProcessor):
    """The span processor of an `OtlpSpanExporter`.

    Attributes:
        span_encoder: as given.
        ledger: where spans wait that have ended as most do.
    """

    def __init__(self, exporter: PieceExporter, encoder: SpanEncoder, *, batch: settings.Batch, guard: Guard) -> None:
        super().__init__(exporter, encoder, batch=batch, guard=guard)
        self.span_encoder = encoder

    def _start(self) -> None:
        # what waits there belongs to the parent as well
        before: Ledger | None = getattr(self, "ledger", None)
        if before is not None:
            before.abandon()
        self.ledger = Ledger(self._take_all, self._lost, self._left, min(TOGETHER, self._batch))
        super()._start()

    def __len__(self) -> int:
        """How many spans wait."""
        return len(self._queue) + len(self.ledger)

    def settle(self, seconds: float = 1.0) -> None:
        """Encode what has ended, and put it into metrics; wait so long for a thread that does."""
        self.ledger.drain(min(seconds, 1.0))

    def _gather(self) -> None:
        if self.ledger:
            self.ledger.full()

    def is_interrupted(self) -> bool:
        """See `PieceQueue.is_interrupted`; or where it settles what has ended."""
        return super().is_interrupted() or self.ledger.is_interrupted()

    def _lost(self, error: BaseException, count: int) -> None:
        self._counts["failed"] += count
        self._guard.failed("spans", error)

    def _take_all(self, pieces: Sequence[Piece]) -> None:
        queue = self._queue
        waiting = len(queue) + len(pieces)
        if waiting > self._room:
            for piece in pieces:
                self.take(piece)
            return
        queue.extend(pieces)
        if waiting <= self._mark:
            return
        if self._mark and FEW < len(pieces) < self._batch and self._leaves() and waiting < _LATE * self._batch:
            # encoding so many was enough for one turn of an event loop: the next span's sends them
            self.ledger.mark = 1
        else:
            self._look()

    def on_end(self, span: ReadableSpan) -> None:
        """Take an ended, sampled span; takes no lock and never waits."""
        context = span.context
        if context is None or not context[FLAGS] & _SAMPLED:
            return
        # what `take` does, without the call
        queue = self._queue
        waiting = len(queue)
        if waiting >= self._room and not self._make_room():
            return
        queue.append(self._piece(span))
        if waiting >= self._mark:
            self._look()

    def take(self, piece: Piece) -> None:
        """Take an ended, sampled span that is encoded already; takes no lock and never waits."""
        queue = self._queue
        waiting = len(queue)
        if waiting >= self._room and not self._make_room():
            return
        queue.append(piece)
        if waiting >= self._mark:
            self._look()
