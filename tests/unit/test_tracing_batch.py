"""The queue: bounded, exported in small slices by a thread of its own, and gone in time."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any

import pytest
from opentelemetry.context import get_value
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanContext

from tests.servers.waiting import wait_until
from tests.tracing_rig import Lines, Recorder, Stuck, end_spans, provider, queue


def threads() -> set[str]:
    """Names of the queue's threads."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("otel-distro-rig")}


def test_the_thread_starts_with_the_first_span() -> None:
    """A queue without spans has no thread: one that is older than a fork makes Python 3.12 warn."""
    made = queue(Recorder())
    assert threads() == set()
    end_spans(made, 1)
    assert threads() == {"otel-distro-rig"}
    made.shutdown()
    wait_until(lambda: not threads(), seconds=30, what="the end of the thread")


def test_spans_leave_in_order_and_in_slices() -> None:
    """Every span is exported once, oldest first, in tuples of at most the slice's size, from the queue's thread."""
    exporter = Recorder()
    made = queue(exporter, slice_size=4)
    end_spans(made, 10)
    assert made.force_flush()
    assert exporter.names == [str(number) for number in range(10)]
    assert [len(call) for call in exporter.calls] == [4, 4, 2]
    assert all(type(call) is tuple for call in exporter.calls)
    assert exporter.threads == {"otel-distro-rig"}
    assert exporter.flushed == 1
    assert made.counts()["exported"] == 10
    made.shutdown()


def test_a_full_batch_wakes_the_thread() -> None:
    """Nobody waits for the schedule when a batch is full; below that the spans wait."""
    exporter = Recorder()
    made = queue(exporter, max_export_batch_size=8)
    end_spans(made, 7)
    assert len(made) == 7
    assert exporter.calls == []
    for _ in range(3):
        end_spans(made, 8 - len(made))
        wait_until(lambda: not len(made), seconds=30, what="the export of a full batch")
    made.shutdown()
    assert made.counters.exported == 24


def test_the_schedule_exports_what_waits() -> None:
    """A batch that is not full leaves after the schedule's delay."""
    exporter = Recorder()
    made = queue(exporter, schedule_delay=10)
    end_spans(made, 1)
    wait_until(lambda: exporter.names == ["0"], seconds=30, what="the scheduled export")
    made.shutdown()


def test_a_full_queue_drops_and_counts_and_says_so_once() -> None:
    """While the exporter is stuck the queue holds its size and no more; every further span is counted."""
    lines, exporter = Lines(), Stuck(interruptible=True)
    made = queue(exporter, lines.guard, max_queue_size=10, max_export_batch_size=2)
    end_spans(made, 2)
    assert exporter.inside.wait(10)
    end_spans(made, 15)
    assert len(made) == 10
    assert made.counters.queue_full == 5
    assert len(lines.lines) == 1
    assert "OTEL_BSP_MAX_QUEUE_SIZE" in lines.lines[0]
    made.shutdown(200)
    wait_until(lambda: not threads(), seconds=30, what="the end of the thread")
    counts = made.counts()
    assert counts["failed"] + counts["at_shutdown"] == 12


class Unsure(Sampler):
    """Records without sampling."""

    def should_sample(self, *arguments: Any, **named: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self) -> str:
        return "Unsure"


def test_only_sampled_spans_are_exported() -> None:
    """A span that is recorded but not sampled, or has no context, does not enter the queue."""
    made = queue(Recorder())
    provider(made, sampler=Unsure()).get_tracer("t").start_span("s").end()
    made.on_end(ReadableSpan("bare"))
    assert len(made) == 0
    made.on_end(ReadableSpan("other", context=SpanContext(1, 1, False, None)))
    assert len(made) == 0


@pytest.mark.parametrize(
    ("answer", "counter"),
    [(SpanExportResult.FAILURE, "failed"), (ValueError("v"), "raised"), (None, "exported")],
)
def test_what_became_of_spans_is_counted(answer: object, counter: str) -> None:
    """A refusal and an exception are counted apart; an exporter that answers nothing took the spans."""
    lines = Lines()
    made = queue(Recorder(answer), lines.guard)
    end_spans(made, 3)
    assert made.force_flush() is (counter == "exported")
    assert {name: count for name, count in made.counts().items() if count} == {counter: 3}
    assert len(lines.lines) == (counter == "raised")
    end_spans(made, 1)
    made.shutdown()
    assert made.counts()[counter] == 4


def test_the_thread_outlives_everything() -> None:
    """Not even a SystemExit of an exporter ends the thread; what it held is counted."""
    exporter = Recorder(SystemExit(3))
    made = queue(exporter)
    end_spans(made, 1)
    assert not made.force_flush()
    exporter.answer = SpanExportResult.SUCCESS
    end_spans(made, 1)
    assert made.force_flush()
    assert (made.counters.raised, made.counters.exported) == (1, 1)
    made.shutdown()


def test_exports_make_no_telemetry() -> None:
    """While an exporter works, instrumentations are switched off in its thread, by either key."""
    seen: list[object] = []

    class Looking(Recorder):
        def export(self, spans: Any) -> SpanExportResult:
            seen.extend([is_instrumentation_enabled(), get_value("suppress_instrumentation")])
            return super().export(spans)

    made = queue(Looking())
    end_spans(made, 1)
    made.shutdown()
    assert seen == [False, True]


def test_force_flush_keeps_to_its_time() -> None:
    """A flush of a stuck exporter answers False when its time is over (python #4568), True when all was sent."""
    exporter = Stuck(interruptible=True)
    made = queue(exporter)
    end_spans(made, 1)
    began = time.monotonic()
    assert made.force_flush(100) is False
    assert time.monotonic() - began < 30
    exporter.released.set()
    made.shutdown()
    assert made.force_flush(100) is False


def test_shutdown_sends_what_waits() -> None:
    """A shutdown exports everything, ends the exporter after it, and is done once; later spans are counted."""
    exporter = Recorder()
    made = queue(exporter)
    end_spans(made, 200)
    made.shutdown()
    assert len(exporter.names) == 200
    assert exporter.ended.is_set()
    end_spans(made, 3)
    made.shutdown()
    assert made.counters.after_shutdown == 3
    assert len(exporter.names) == 200


def test_shutdown_interrupts_an_exporter_in_its_backoff() -> None:
    """One export that does not come back is interrupted by the exporter's own shutdown within the time given."""
    exporter = Stuck(interruptible=True)
    made = queue(exporter)
    end_spans(made, 100)
    began = time.monotonic()
    made.shutdown(400)
    assert time.monotonic() - began < 30
    wait_until(exporter.ended.is_set, seconds=30, what="the end of the exporter")
    wait_until(lambda: not threads(), seconds=30, what="the end of the thread")
    counts = made.counts()
    assert counts["failed"] + counts["at_shutdown"] == 100


def test_shutdown_interrupts_an_exporter_when_its_time_is_over_at_once() -> None:
    """A machine that stands still in a shutdown leaves no time for it: the exporter is ended all the same."""
    exporter = Stuck(interruptible=True)
    made = queue(exporter)
    end_spans(made, 1)
    made.force_flush(1)
    assert exporter.inside.wait(10)
    made.shutdown(0)
    wait_until(lambda: not threads(), seconds=30, what="the end of the thread")
    assert exporter.ended.is_set()


def test_shutdown_leaves_an_exporter_behind_that_nothing_interrupts() -> None:
    """An exporter that hangs for good costs the time given; it is named, and what waited is counted."""
    lines, exporter = Lines(), Stuck(interruptible=False)
    made = queue(exporter, lines.guard)
    end_spans(made, 1)
    made.force_flush(1)
    assert exporter.inside.wait(10)
    end_spans(made, 5)
    began = time.monotonic()
    made.shutdown(200)
    assert time.monotonic() - began < 30
    assert made.counters.at_shutdown == 5
    exporter.released.set()
    wait_until(lambda: not threads(), seconds=30, what="the end of the thread")


def test_shutdown_lets_a_slow_exporter_go_on() -> None:
    """An exporter that gets on, call by call, is not interrupted before nearly all of the time is used."""

    class Slow(Recorder):
        def export(self, spans: Any) -> SpanExportResult:
            assert not self.ended.is_set()
            time.sleep(0.02)
            return super().export(spans)

    exporter = Slow()
    made = queue(exporter, slice_size=1)
    end_spans(made, 20)
    made.shutdown(60_000)
    assert len(exporter.names) == 20


def test_an_exporter_is_told_how_long_its_shutdown_may_take() -> None:
    """Where an exporter's `shutdown` takes `timeout_millis`, as upstream's OTLP exporters do, it gets what is left."""
    told: list[float] = []

    class Asking(Recorder):
        def shutdown(self, timeout_millis: float = 30000) -> None:
            told.append(timeout_millis)

    queue(Asking()).shutdown(5000)
    assert len(told) == 1
    assert 0 < told[0] <= 5000


def test_a_finaliser_that_ends_a_span_inside_the_queue_does_not_lock_up() -> None:
    """The collector of cycles may run anywhere, also while the thread waits: `on_end` takes no lock (python #5313)."""
    made = queue(Recorder(), max_export_batch_size=2)
    tracer = provider(made).get_tracer("t")

    class Cyclic:
        def __init__(self) -> None:
            self.me = self
            self.span = tracer.start_span("s")

        def __del__(self) -> None:
            self.span.end()

    thresholds = gc.get_threshold()
    gc.set_threshold(10)
    try:
        for _ in range(2000):
            Cyclic()
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert made.force_flush()
    made.shutdown()
    counts = made.counts()
    assert counts["exported"] + counts["queue_full"] == 2000


def test_many_threads_lose_nothing() -> None:
    """Spans that end in eight threads at once are each exported or counted, exactly once."""
    exporter = Recorder()
    made = queue(exporter, max_export_batch_size=16, schedule_delay=5, max_queue_size=256)
    workers = [threading.Thread(target=end_spans, args=(made, 500)) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    made.shutdown(60_000)
    counts = made.counts()
    assert counts["exported"] == len(exporter.names)
    assert counts["exported"] + counts["queue_full"] == 4000
