"""Spans that wait in the ledger leave in good time: from a busy thread by itself, from an idle one by the sender's."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from time import perf_counter, sleep, time_ns
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.trace import SpanKind

from otel_distro import settings
from otel_distro.guard import Guard
from otel_distro.instrumentation.binding import NOTHING
from otel_distro.ledger import TOGETHER, Entry
from otel_distro.otlp._batch import Encoded
from otel_distro.otlp.encode_traces import SpanEncoder
from otel_distro.otlp.queue import SpanQueue
from otel_distro.tracing.brief import Briefs
from tests.forking import in_child
from tests.integration.test_otlp_queue import Queued, traces
from tests.servers.sink import OtlpSink
from tests.servers.waiting import wait_until
from tests.tracing_rig import provider


class Handed:
    """An exporter whose batches end here: as what, from which call, in which thread."""

    def __init__(self) -> None:
        self.now: list[list[str]] = []
        self.later: list[list[str]] = []
        self.threads: set[int] = set()
        self.woken = 0
        self.busy = False
        self.fetch: Callable[[], float] = float

    def hand_over(self, encode: Callable[[], Encoded]) -> bool:
        """As the sender's own thread does."""
        self.later.append(self._names(encode()))
        return True

    def hand_over_now(self, encode: Callable[[], Encoded]) -> bool:
        """As an application's thread does."""
        if self.busy:
            return False
        self.threads.add(threading.get_ident())
        self.now.append(self._names(encode()))
        return True

    def postpone(self) -> None:
        """Nobody waits here."""

    def feed(self, fetch: Callable[[], float], every: float) -> Callable[[], bool]:
        """Leave `fetch` to the test."""
        self.fetch = fetch
        return self._wake

    def force_flush(self, timeout_millis: float) -> bool:
        """Nothing waits here."""
        return True

    def shutdown(self, timeout_millis: float | None) -> None:
        """Nothing to end."""

    @property
    def names(self) -> list[str]:
        """All that came."""
        return [name for batch in (*self.now, *self.later) for name in batch]

    def _wake(self) -> bool:
        self.woken += 1
        return True

    @staticmethod
    def _names(encoded: Encoded) -> list[str]:
        request = ExportTraceServiceRequest.FromString(encoded.body)
        return [
            span.name for group in request.resource_spans for scope in group.scope_spans for span in scope.spans
        ]  # fmt: skip


class Ending:
    """A queue whose spans were never an object, before an exporter that keeps them."""

    def __init__(self, **batch: Any) -> None:
        self.handed = Handed()
        self.lines: list[str] = []
        guard = Guard(output=lambda _, text: self.lines.append(text))
        chosen = settings.Batch(**{"schedule_delay": 3_600_000, **batch})
        self.queue = SpanQueue(self.handed, SpanEncoder(), batch=chosen, guard=guard)
        self._briefs = briefs(provider(self.queue))

    def end(self, number: int) -> None:
        """End so many spans."""
        end(self._briefs, number)


def briefs(made: Any, name: str = "statement") -> Briefs:
    """Spans of a statement that nobody looks at."""
    found: Briefs = made.get_tracer("test").briefs(name, SpanKind.CLIENT, {"db.system.name": "sqlite"})
    return found.measure(NOTHING)


def end(statements: Briefs, number: int) -> None:
    """So many of them end."""
    for _ in range(number):
        now = time_ns()
        statements.ended(None, None, now - 1_000, now, 1e-6, perf_counter())


# --- an idle process -------------------------------------------------------------------------------------------------


def test_a_span_of_an_idle_process_leaves_when_the_delay_is_over() -> None:
    """Nobody flushes and nothing else ends: the first span, and one that waits alone, leave all the same."""
    with OtlpSink() as sink, Queued(traces(sink), schedule_delay=50) as queued:
        statements = briefs(queued.provider)
        for number in range(1, 4):
            end(statements, 1)
            wait_until(lambda: len(sink.spans) == number, seconds=10, what="a span by itself")  # noqa: B023 - called at once


@pytest.mark.parametrize("number", [2, TOGETHER, TOGETHER + 1, 1_000])
def test_after_a_burst_everything_leaves(number: int) -> None:
    """What a burst leaves behind is fetched although nothing follows it."""
    with OtlpSink() as sink, Queued(traces(sink), schedule_delay=50) as queued:
        statements = briefs(queued.provider)
        for burst in range(1, 3):
            end(statements, number)
            wait_until(lambda: len(sink.spans) == burst * number, seconds=10, what="the whole burst")  # noqa: B023 - called at once
        assert len({span.span_id for span in sink.spans}) == 2 * number
        assert queued.queue.counts()["exported"] == 2 * number
        assert len(queued.queue) == 0


def test_small_batches_are_sent_when_they_are_full() -> None:
    """Who asks for batches of ten gets them as soon as ten have ended, and not when the delay is over."""
    ending = Ending(max_export_batch_size=10)
    ending.end(25)
    assert len(ending.handed.names) >= 20


# --- a busy process --------------------------------------------------------------------------------------------------


def test_a_busy_thread_sends_its_batches_and_the_sender_leaves_it_alone() -> None:
    """Under a stream of spans the sender's thread finds nothing to do, however often it looks."""
    ending = Ending(max_export_batch_size=128)
    lefts = []
    for _ in range(40):
        ending.end(50)
        lefts.append(ending.handed.fetch())
    handed = ending.handed
    assert handed.later == []
    assert all(left > 0 for left in lefts), "it is told to come again later, not at once"
    assert handed.threads == {threading.get_ident()}
    assert len(handed.now) <= 2_000 // 128 + 1, "batches are full"
    assert 2_000 - 128 - TOGETHER <= len(handed.names) <= 2_000
    assert handed.woken == 1, "the first span starts the thread, and no other wakes it"
    assert len(ending.queue) == 2_000 - len(handed.names)
    assert ending.queue.force_flush()
    assert len(handed.names) == 2_000


def test_a_stream_that_stops_is_fetched_to_its_end() -> None:
    """When the delay is over since the last batch was sent from the application, the sender takes what is left."""
    ending = Ending(max_export_batch_size=128, schedule_delay=40)
    ending.end(300)
    left = ending.handed.fetch()
    while ending.handed.fetch() < 0.04 and len(ending.queue):
        sleep(0.005)
    assert left <= 0.04
    assert len(ending.queue) == 0
    assert len(ending.handed.names) == 300


def test_a_sender_that_is_called_takes_what_waits() -> None:
    """Where two batches could not be sent from the application's thread, the sender's does so at once."""
    ending = Ending(max_export_batch_size=64, max_queue_size=1_024)
    ending.handed.busy = True
    ending.end(1 + 3 * TOGETHER)
    assert ending.handed.woken == 2
    assert ending.handed.names == []
    ending.handed.fetch()
    assert len(ending.handed.names) == 1 + 3 * TOGETHER
    assert ending.handed.now == []


def test_who_could_not_send_a_batch_does_not_put_the_delay_off() -> None:
    """While the sender is busy, what waits is not later for every attempt that was made to send it."""
    ending = Ending(max_export_batch_size=1_000, schedule_delay=60)
    ending.handed.busy = True
    ending.end(1)
    sleep(0.065)
    ending.end(2 * TOGETHER)
    ending.handed.fetch()
    assert len(ending.handed.names) == 1 + 2 * TOGETHER


def test_what_waits_in_the_ledger_is_counted_as_waiting() -> None:
    """`len` of the queue is all that has ended and was not handed over, encoded or not."""
    ending = Ending()
    for number in range(1, 2 * TOGETHER):
        ending.end(1)
        assert len(ending.queue) == number
    assert len(ending.queue.ledger) > 0
    assert ending.handed.names == []
    assert ending.queue.force_flush()
    assert (len(ending.queue), len(ending.handed.names)) == (0, 2 * TOGETHER - 1)


def test_many_threads_that_end_spans_lose_and_double_nothing() -> None:
    """Spans of four threads all arrive once, while batches are sent from each of them and fetched between."""
    with OtlpSink() as sink, Queued(traces(sink), schedule_delay=5, max_export_batch_size=64) as queued:
        made = [briefs(queued.provider, str(worker)) for worker in range(4)]
        workers = [threading.Thread(target=end, args=(each, 700)) for each in made]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert queued.provider.force_flush(10_000)
        assert len({span.span_id for span in sink.spans}) == len(sink.spans) == 2_800


# --- forks and ends --------------------------------------------------------------------------------------------------


def test_a_child_of_a_fork_has_nothing_of_the_ledger() -> None:
    """What waits belongs to the parent; a child's first span is settled at once, as that of every process."""
    ending = Ending()
    ending.end(20)

    def look() -> object:
        before = len(ending.queue), len(ending.queue.ledger)
        ending.end(1)
        after = len(ending.queue), len(ending.queue.ledger)
        return before, after, ending.queue.force_flush(), len(ending.handed.names)

    assert in_child(look) == str(((0, 0), (1, 0), True, 1))
    assert len(ending.queue) == 20
    assert ending.queue.force_flush()
    assert len(ending.handed.names) == 20


class _Interrupting:
    """An account with nothing to send: while it is settled, this process gets a signal."""

    def __init__(self, number: int) -> None:
        self._number = number

    def encoded(self, entries: list[Entry]) -> Sequence[Any]:
        signal.raise_signal(self._number)
        return []

    def count(self, entries: list[Entry]) -> None:
        pass


@pytest.mark.parametrize("way", ["the last of many", "a flush"])
def test_a_shutdown_in_a_signal_handler_that_interrupts_the_settling_delivers_everything(way: str) -> None:
    """Spans before and after the one at which the signal came are sent, once, and before the frame goes on."""
    with OtlpSink() as sink:
        queued = Queued(traces(sink))
        statements, ledger = briefs(queued.provider), queued.queue.ledger
        end(statements, 1)
        flushed: list[bool] = []

        def handler(*_: object) -> None:
            flushed.append(queued.provider.force_flush(20_000))
            queued.provider.shutdown(5_000)

        before = signal.signal(signal.SIGUSR1, handler)
        try:
            ledger.append((_Interrupting(signal.SIGUSR1),))
            end(statements, 30)
            began = perf_counter()
            if way == "a flush":
                queued.queue.settle()
            else:
                end(briefs(queued.provider, "others"), TOGETHER)
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert perf_counter() - began < 10
        assert flushed == [False]
        # by then as many had ended; the others came too late
        expected = 31 if way == "a flush" else TOGETHER
        assert len({span.span_id for span in sink.spans}) == len(sink.spans) == expected
        queued.queue.settle()
        assert queued.queue.counts()["after_shutdown"] == (0 if way == "a flush" else 31)
        assert queued.lines == []


def test_an_end_sends_what_waits() -> None:
    """A shutdown delivers what has ended as well as what is encoded; what ends later is counted as that."""
    ending = Ending()
    ending.end(50)
    ending.queue.shutdown()
    assert len(ending.handed.names) == 50
    ending.end(70)
    ending.queue.settle()
    assert ending.queue.counts()["after_shutdown"] == 70
    assert len(ending.queue) == 0
    assert len(ending.handed.names) == 50
