"""Ended spans wait here until a thread of their own hands them to an exporter.

The thread starts with the first span (a thread older than `os.fork` makes Python 3.12 warn in the application) and
again in a forked child. Counters and the queue's bound rest on the GIL; a free-threaded build may miscount by a span
a race and overshoot the bound by as many spans as there are threads.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from opentelemetry.context import Context, attach
from opentelemetry.context import detach as detach_context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_distro import settings
from otel_distro._compat import FLAGS, SUPPRESS_ALL
from otel_distro.bell import Bell
from otel_distro.guard import Guard, start_thread
from otel_distro.process import Deadline, in_forked_child
from otel_distro.records import dataclass, field

from .processors import takes_timeout

_SAMPLED = 1
_NEVER = sys.maxsize
_POLL = 0.05
_ONE_EXPORT = 0.5
"""The part of a shutdown's time that one call of the exporter may take."""
_LAST_PART = 0.1
"""The part of a shutdown's time that is kept for the exporter's own shutdown."""


@dataclass(slots=True)
class _Flush:
    """One caller that waits for everything to be sent that was in the queue when it asked."""

    deadline: Deadline
    done: threading.Event = field(default_factory=threading.Event)
    sent: bool = True


@dataclass(slots=True)
class Counters:
    """What became of ended spans, in spans.

    Attributes:
        exported: the exporter took them.
        failed: the exporter answered that it could not.
        raised: the exporter raised.
        queue_full: dropped, because `max_queue_size` spans waited.
        after_shutdown: dropped, because they ended after the shutdown.
        at_shutdown: dropped, because the shutdown's time was over.
    """

    exported: int = 0
    failed: int = 0
    raised: int = 0
    queue_full: int = 0
    after_shutdown: int = 0
    at_shutdown: int = 0


class BatchQueue(SpanProcessor):
    """A span processor that exports in small slices from a thread of its own.

    Args:
        exporter: gets tuples of ended spans, in the order they ended; any third party's will do.
        batch: how many may wait, how long, and at how many the thread wakes early. The time one export may take is the
            exporter's to keep: nothing can end a call of a third party's.
        guard: gets what the exporter raises.
        name: of the exporter, for the guard's lines and the thread.
        slice_size: most spans in one call of the exporter, so that encoding them never holds the interpreter long.

    Attributes:
        counters: what became of the spans; plain integers, read at any time.
        items: what waits here, for the guard's lines.
        variable: that says how many may.
    """

    items = "spans"
    variable = "OTEL_BSP_MAX_QUEUE_SIZE"

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        batch: settings.Batch,
        guard: Guard,
        name: str,
        slice_size: int = 64,
    ) -> None:
        self._exporter = exporter
        self._guard = guard
        self._part = f"exporter {name}"
        self._name = name
        self._size = batch.max_queue_size
        self._batch = min(batch.max_export_batch_size, batch.max_queue_size)
        self._slice = max(1, min(slice_size, batch.max_export_batch_size))
        self._delay = batch.schedule_delay / 1000
        self._closed = False
        self._reset()
        in_forked_child(self._after_fork, guard.failed)

    def _reset(self) -> None:
        self.counters = Counters()
        self._queue: deque[ReadableSpan] = deque()
        self._room = -1 if self._closed else self._size
        # the first span finds a mark of zero and starts the thread; later the mark is a full batch, or never while
        # the thread has been called already
        self._mark = 0
        self._bell = Bell()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._flushes: deque[_Flush] = deque()
        self._ended = threading.Event()
        self._ending = threading.Lock()
        self._closing = Deadline(0)
        self._export_since: float | None = None

    def _after_fork(self) -> None:
        # what waited belongs to the parent, which sends it
        self._reset()

    def __len__(self) -> int:
        """How many spans wait."""
        return len(self._queue)

    def on_end(self, span: ReadableSpan) -> None:
        """Take an ended, sampled span; takes no lock and never waits."""
        context = span.context
        if context is None or not context[FLAGS] & _SAMPLED:
            return
        queue = self._queue
        waiting = len(queue)
        if waiting >= self._room:
            self._refuse()
            return
        queue.append(span)
        if waiting >= self._mark:
            self._call_thread()

    def _refuse(self) -> None:
        if self._closed:
            self.counters.after_shutdown += 1
            return
        self.counters.queue_full += 1
        if self.counters.queue_full == 1:
            self._guard.warn(
                f"{self._part}: {self._size} {self.items} wait, further ones are dropped and counted; "
                f"raise {self.variable} if the collector is well"
            )

    def _call_thread(self) -> None:
        if self._thread is None and not self._start():
            return
        if len(self._queue) >= self._batch:
            self._mark = _NEVER
            self._bell.ring()

    def _start(self) -> bool:
        """Start the thread, once; False when the interpreter refuses, which happens late in its shutdown."""
        if not self._starting.acquire(blocking=False):
            return False
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=f"otel-distro-{self._name}", daemon=True)
                if not start_thread(thread):
                    self._mark = _NEVER
                    return False
                self._thread = thread
                self._mark = self._batch - 1
            return True
        finally:
            self._starting.release()

    def _run(self) -> None:
        # for this thread's whole life: what exporters do is not traced
        attach(Context(SUPPRESS_ALL))
        bell = self._bell
        while not self._closed:
            bell.wait(self._delay)
            self._work()
        self._work()
        self._end_exporter()

    def _work(self) -> None:
        """Export what waits now, then answer those who wait for it; raises nothing."""
        try:
            self._mark = self._batch - 1
            flushes = [self._flushes.popleft() for _ in range(len(self._flushes))]
            sent = self._drain(len(self._queue))
            for flush in flushes:
                flush.sent = sent and self._flush_exporter(flush.deadline)
                flush.done.set()
        except BaseException as error:  # noqa: BLE001 - the thread must outlive everything, also a SystemExit
            self._guard.failed(self._part, error)

    def _drain(self, count: int) -> bool:
        """Export `count` spans in slices; whether the exporter took them all."""
        queue, sent = self._queue, True
        while count > 0 and queue and not self._ended.is_set():
            spans: list[ReadableSpan] = []
            while queue and len(spans) < self._slice:
                spans.append(queue.popleft())
            count -= len(spans)
            sent = self._export(tuple(spans)) and sent
            # let go of the interpreter between slices: what waits for it is the application
            time.sleep(0)
        return sent

    def _export(self, spans: tuple[ReadableSpan, ...]) -> bool:
        self._export_since = time.monotonic()
        try:
            result = self._exporter.export(spans)
        except BaseException as error:  # noqa: BLE001 - an exporter may raise anything, also a SystemExit
            self.counters.raised += len(spans)
            self._guard.failed(self._part, error, remedy=f"its {self.items} are dropped and counted")
            return False
        finally:
            self._export_since = None
        if result is SpanExportResult.FAILURE:
            self.counters.failed += len(spans)
            return False
        self.counters.exported += len(spans)
        return True

    def _flush_exporter(self, deadline: Deadline) -> bool:
        flush = getattr(self._exporter, "force_flush", None)
        if flush is None:
            return True
        return self._guard.call(self._part, False, flush, int(deadline.left() * 1000)) is not False

    def force_flush(self, timeout_millis: int | None = 30000) -> bool:
        """Export everything that waits now, and have the exporter send it.

        Returns:
            False when an export failed, the time was over, or after a shutdown.
        """
        if self._closed:
            return False
        flush = _Flush(Deadline((30000 if timeout_millis is None else timeout_millis) / 1000))
        self._flushes.append(flush)
        if self._thread is None and not self._start():
            self._here(self._work)
        self._bell.ring()
        return flush.done.wait(flush.deadline.left()) and flush.sent

    def shutdown(self, timeout_millis: float = 2000) -> None:
        """Export what waits, shut the exporter down, and return within `timeout_millis` whatever they do.

        One export that takes more than half of the time is interrupted by the exporter's own `shutdown` (which ends
        upstream's back-off: its batch processor first waits 30 s, opentelemetry-python #3309), and so is what is under
        way when a tenth of the time is left.
        """
        if self._closed:
            return
        self._closing = deadline = Deadline(timeout_millis / 1000)
        self._closed = True
        self._room = -1
        if self._thread is None and not self._start():
            self._here(self._run_out)
        self._bell.ring()
        self._wait_for_end(timeout_millis / 1000, deadline)
        if not self._ended.is_set():
            remedy = f"waiting {self.items} are dropped and counted"
            self._guard.failed(self._part, "its shutdown took too long", remedy=remedy)
        self._ended.set()
        self.counters.at_shutdown += len(self._queue)
        self._queue.clear()

    def _wait_for_end(self, seconds: float, deadline: Deadline) -> None:
        began = time.monotonic()
        while not self._ended.wait(min(_POLL, deadline.left())) and deadline.left() > 0:
            since = self._export_since
            stuck = since is not None and time.monotonic() - max(since, began) > seconds * _ONE_EXPORT
            if stuck or deadline.left() < seconds * _LAST_PART:
                self._interrupt()
                if self._ended.wait(deadline.left()) and self._thread is not None:
                    # it comes out of the exporter now, and counts what it had
                    self._thread.join(min(_POLL, deadline.left()))
                return
        if not self._ended.is_set():
            # the machine stood still until the time was over: who waits inside the exporter is let go all the same
            self._interrupt()

    def _run_out(self) -> None:
        self._work()
        self._end_exporter()

    def _interrupt(self) -> None:
        """Shut the exporter down beside the thread that is inside it."""
        name = f"otel-distro-{self._name}-end"
        if not start_thread(threading.Thread(target=self._end_exporter, name=name, daemon=True)):
            self._here(self._end_exporter)

    def _end_exporter(self) -> None:
        """Shut the exporter down, the first who comes; then nobody has to wait any longer."""
        if not self._ending.acquire(blocking=False):
            return
        shutdown = self._exporter.shutdown
        told = {"timeout_millis": int(self._closing.left() * 1000)} if takes_timeout(shutdown) else {}
        self._guard.call(self._part, None, shutdown, **told)
        self._ended.set()

    def _here(self, call: Callable[[], None]) -> None:
        """Run a part of the thread's work in the caller's, where the interpreter gives no thread any more."""
        token = attach(Context(SUPPRESS_ALL))
        try:
            call()
        finally:
            detach_context(token)

    def counts(self) -> Mapping[str, int]:
        """The counters by name."""
        counters = self.counters
        return {name: getattr(counters, name) for name in Counters.__slots__}


__all__ = ["BatchQueue", "Counters"]
