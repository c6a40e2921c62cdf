"""The queue of encoded spans: batches, bounds, held-up senders, forks and ends, against a real receiver."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from typing import Any, Self

import pytest
from opentelemetry import trace

from otel_distro import settings
from otel_distro.guard import Guard
from otel_distro.otlp.exporters import build_span_exporter
from otel_distro.otlp.queue import SpanQueue
from otel_distro.tracing import LeanTracerProvider
from tests.otlp_servers import OK, RawServer, is_answered, keep_answering, read_request
from tests.servers.sink import OtlpSink
from tests.servers.waiting import wait_until
from tests.tracing_rig import provider


class Queued:
    """A provider whose spans go to `url` by a `SpanQueue`; shut down at the end of the `with` block."""

    def __init__(self, url: str, **batch: Any) -> None:
        self.lines: list[str] = []
        guard = Guard(output=lambda _, text: self.lines.append(text))
        chosen = settings.Batch(**{"schedule_delay": 3_600_000, **batch})
        self.exporter = build_span_exporter(
            settings.Otlp(endpoint=url), settings.Distro(), guard, most_items=chosen.max_export_batch_size
        )
        pieces = self.exporter.pieces
        assert pieces is not None
        self.queue = SpanQueue(self.exporter, pieces, batch=chosen, guard=guard)
        self._batch = chosen.max_export_batch_size
        self.provider: LeanTracerProvider = provider(self.queue)
        self.tracer: trace.Tracer = self.provider.get_tracer("test")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.provider.shutdown(2000)

    def end(self, *names: object) -> None:
        """End a span of each name."""
        for name in names:
            self.tracer.start_span(str(name)).end()

    def fill(self, *names: object) -> None:
        """The same for spans that fill batches, each of which has been handed over from here when this returns.

        Where the sender's thread holds its lock, and waits for a processor, the next span would try it again.
        """
        for name in names:
            self.end(name)
            if len(self.queue) >= self._batch:
                wait_until(self._handed_over, seconds=10, what="a batch that is handed over from here")

    def _handed_over(self) -> bool:
        return len(self.queue) < self._batch or self.queue._handed_over_now()

    def answered(self) -> None:
        """Wait until the answer to what was sent from here lies in the kernel, or has been read."""
        wait_until(lambda: is_answered(self.exporter._export.sender), seconds=10, what="the answer to a batch")


def traces(sink: OtlpSink) -> str:
    return f"{sink.url}/v1/traces"


def test_a_full_batch_is_sent_at_once_and_the_rest_when_the_delay_is_over() -> None:
    """Spans arrive in order: a full batch without waiting, what is left after the delay."""
    with OtlpSink() as sink, Queued(traces(sink), max_export_batch_size=10) as queued:
        queued.end(*range(25))
        wait_until(lambda: len(sink.spans) >= 20, seconds=10, what="two full batches")
    with OtlpSink() as sink, Queued(traces(sink), schedule_delay=50) as queued:
        queued.end(*range(25))
        wait_until(lambda: len(sink.spans) == 25, seconds=10, what="all spans after the delay")
        assert [span.name for span in sink.spans] == [str(number) for number in range(25)]
        queued.end("later")
        wait_until(lambda: len(sink.spans) == 26, seconds=10, what="a second delay")


def test_one_thread_and_no_more_does_all_of_it() -> None:
    """The sender's thread is the only one, and it starts with the first span."""
    with OtlpSink() as sink, Queued(traces(sink)) as queued:
        before = threading.active_count()
        queued.end("first")
        own = [thread.name for thread in threading.enumerate() if thread.name.startswith("otel-distro")]
        assert own == ["otel-distro-otlp-traces"]
        assert threading.active_count() <= before + 1
        assert queued.provider.force_flush(60_000)
        assert [span.name for span in sink.spans] == ["first"]


def test_a_collector_that_hangs_costs_no_span_while_the_spool_has_room() -> None:
    """While a request hangs, what does not fit into the queue moves to the spool, from where it is sent afterwards."""
    hold, seen = threading.Event(), []

    def slow(connection: socket.socket, _: int) -> None:
        while request := read_request(connection):
            seen.append(request)
            hold.wait(20)
            connection.sendall(OK)

    with RawServer(slow) as server, Queued(server.url, max_queue_size=20, max_export_batch_size=10) as queued:
        # two batches: one alone waits for the delay where the sender's thread, which begins, is in the way
        queued.end(*range(20))
        wait_until(lambda: bool(seen), seconds=10, what="the first request")
        queued.end(*range(20, 500))
        assert len(queued.queue) <= 20
        hold.set()
        assert queued.provider.force_flush(60_000)
        stats = queued.exporter.stats()[0]
        assert (stats.sent, dict(stats.dropped)) == (500, {})
        assert queued.queue.counts() == {"exported": 500, "failed": 0, "queue_full": 0, "after_shutdown": 0}
        assert queued.lines == []


def test_a_full_queue_whose_sender_is_busy_drops_counts_and_says_it_once() -> None:
    """Where neither queue nor spool can take a span, it is dropped and counted, and the application goes on at once."""
    with RawServer(keep_answering(OK)) as server, Queued(server.url, max_queue_size=20) as queued:
        held = queued.exporter._export.sender.lock
        with held:
            queued.end(*range(70))
        assert queued.queue.counts()["queue_full"] == 30
        assert len([line for line in queued.lines if "OTEL_BSP_MAX_QUEUE_SIZE" in line]) == 1
        queued.end("there is room again")
        assert queued.queue.counts()["queue_full"] == 30


def test_the_end_sends_what_waits_and_counts_what_comes_too_late() -> None:
    """A shutdown delivers everything; spans that end later are counted and dropped."""
    with OtlpSink() as sink:
        queued = Queued(traces(sink))
        late = queued.tracer.start_span("late")
        queued.end(*range(3000))
        queued.provider.shutdown(60_000)
        late.end()
        assert len(sink.spans) == 3000
        assert queued.queue.counts()["after_shutdown"] == 1
        assert not queued.queue.force_flush(100)


def test_a_dead_collector_holds_the_end_up_no_longer_than_it_may() -> None:
    """The shutdown returns within its time although the request hangs, and what is lost is counted and said."""
    with RawServer(lambda connection, _: server.stopping.wait(60) and None) as server:
        queued = Queued(server.url)
        queued.end(*range(100))
        began = time.monotonic()
        queued.provider.shutdown(500)
        assert time.monotonic() - began < 30  # not the 60 s of the request
        # by another thread, which on a busy machine may come to it after the shutdown has returned
        wait_until(lambda: any("100" in line for line in queued.lines), seconds=10, what="the loss to be said")
        assert sum(queued.exporter.stats()[0].dropped.values()) == 100


def test_the_last_batches_and_what_waits_can_be_looked_at() -> None:
    """Who asks for it finds the last two batches beside what waits, oldest first, and none of before."""
    with OtlpSink() as sink, Queued(traces(sink), max_export_batch_size=10) as queued:
        recent = queued.queue.keep()
        queued.end("opens the connection")
        assert queued.provider.force_flush(60_000)
        queued.fill(*range(23))
        wait_until(lambda: len(sink.spans) == 21, seconds=10, what="two batches")
        found = [
            str(number)
            for number in range(23)
            if any(b"*" + bytes((len(str(number)),)) + str(number).encode() in one for _, _, one in recent())
        ]
        assert found == [str(number) for number in range(23)]
        assert len(recent()) == 23, "the one before the two batches is forgotten"


def test_a_child_of_a_fork_sends_its_own_spans_and_not_its_parents() -> None:
    """What waited at the fork is sent once, by the parent; the child's spans are sent by a thread of its own."""
    with OtlpSink() as sink, Queued(traces(sink)) as queued:
        queued.end("parent before")
        child = os.fork()
        if not child:
            queued.end("child")
            os._exit(0 if queued.provider.force_flush(60_000) else 1)
        _, status = os.waitpid(child, 0)
        queued.end("parent after")
        assert queued.provider.force_flush(60_000)
        assert os.waitstatus_to_exitcode(status) == 0
        assert sorted(span.name for span in sink.spans) == ["child", "parent after", "parent before"]


def test_many_threads_lose_and_double_nothing() -> None:
    """Spans of eight threads all arrive once, while batches are fetched between them."""
    with OtlpSink() as sink, Queued(traces(sink), schedule_delay=5, max_export_batch_size=64) as queued:
        workers = [
            threading.Thread(target=queued.end, args=[f"{worker} {number}" for number in range(500)])
            for worker in range(8)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert queued.provider.force_flush(60_000)
        names = [span.name for span in sink.spans]
        assert len(names) == len(set(names)) == 4000


def test_a_full_batch_wakes_no_thread_where_it_can_be_sent_from_here() -> None:
    """Over an open connection a full batch leaves in the thread that completes it; the next one settles it."""
    with OtlpSink() as sink, Queued(traces(sink), max_export_batch_size=10) as queued:
        queued.end("opens the connection")
        assert queued.provider.force_flush(60_000)
        sender = queued.exporter._export.sender
        with sender.lock:
            asleep = sender._bell
        for batch in range(5):
            queued.fill(*range(batch * 10, batch * 10 + 10))
            wait_until(lambda: len(sink.spans) == 11 + batch * 10, seconds=10, what="a batch from here")  # noqa: B023 - called at once
            queued.answered()
            assert not asleep.wait(0)
        assert sender.stats().sent >= 31
        assert queued.provider.force_flush(60_000)
        assert (sender.stats().sent, sender.stats().requests, sender.stats().failures) == (51, 6, 0)


class Alike:
    """An account whose entries are encoded already; `together` has how many were asked for at once."""

    def __init__(self) -> None:
        self.together: list[int] = []

    def encoded(self, entries: list[Any]) -> list[Any]:
        self.together.append(len(entries))
        return [piece for _, piece in entries]

    def count(self, entries: list[Any]) -> None:
        return


def test_the_span_that_ends_after_a_full_batch_sends_it() -> None:
    """No span's end both encodes many and sends a batch: the two together hold an event loop twice as long."""
    with OtlpSink() as sink, Queued(traces(sink)) as queued:
        queued.end("opens the connection")
        assert queued.provider.force_flush(60_000)
        ledger, alike = queued.queue.ledger, Alike()
        entry = alike, queued.queue.span_encoder.piece(queued.tracer.start_span("ended"))
        exported = []
        ended = 4 * 512 + 64
        for _ in range(ended):
            before = queued.queue.counts()["exported"]
            alike.together.clear()
            ledger.append(entry)
            if len(ledger) >= ledger.mark:
                ledger.full()
            if queued.queue.counts()["exported"] > before:
                exported.append(sum(alike.together))
                # a batch that follows an unanswered one is sent by the sender's thread, whenever that comes to it
                wait_until(lambda: len(sink.spans) == queued.queue.counts()["exported"], seconds=20, what="the batch")
                queued.answered()
        assert exported == [1] * 4
        assert queued.provider.force_flush(60_000)
        assert len(sink.spans) == 1 + ended


@pytest.mark.parametrize("breaks", ["before the request", "after the request", "in the answer"])
def test_a_connection_that_breaks_under_a_batch_sent_from_here_loses_nothing(breaks: str) -> None:
    """What was sent from the application's thread and not answered is sent again by the sender's own."""
    seen: list[bytes] = []

    def script(connection: socket.socket, number: int) -> None:
        if number > 1:
            keep_answering(OK)(connection, number)
            return
        read_request(connection)
        connection.sendall(OK)
        if breaks == "before the request":
            return
        seen.append(read_request(connection))
        if breaks == "in the answer":
            connection.sendall(OK[:20])

    with RawServer(script) as server, Queued(server.url, max_export_batch_size=10) as queued:
        queued.end("opens the connection")
        assert queued.provider.force_flush(60_000)
        if breaks == "before the request":
            time.sleep(0.05)
        queued.end(*range(30))
        queued.provider.force_flush(60_000)
        queued.provider.force_flush(60_000)
        stats = queued.exporter.stats()[0]
        assert (stats.sent, stats.queued, dict(stats.dropped)) == (31, 0, {})


def test_a_batch_larger_than_the_kernel_takes_is_finished_by_the_senders_thread() -> None:
    """A request of which only a part could be sent from the application's thread arrives whole."""
    with OtlpSink() as sink, Queued(traces(sink), max_export_batch_size=8, max_queue_size=64) as queued:
        queued.end("opens the connection")
        assert queued.provider.force_flush(60_000)
        for number in range(8):
            queued.tracer.start_span("large", attributes={"value": f"{number}" + "x" * 2_000_000}).end()
        assert queued.provider.force_flush(60_000)
        assert len(sink.spans) == 9


def test_a_server_that_refuses_a_batch_sent_from_here_is_said_and_counted() -> None:
    """A refusal is settled as any other: counted by status, one line."""
    answers = iter([OK, *[b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"] * 10])

    def script(connection: socket.socket, _: int) -> None:
        while read_request(connection):
            connection.sendall(next(answers))

    with RawServer(script) as server, Queued(server.url, max_export_batch_size=10) as queued:
        queued.end("opens the connection")
        assert queued.provider.force_flush(60_000)
        queued.end(*range(20))
        queued.provider.force_flush(60_000)
        stats = queued.exporter.stats()[0]
        assert (stats.sent, dict(stats.dropped)) == (1, {"refused with status 400": 20})
        assert len([line for line in queued.lines if "400" in line]) == 1


def test_a_child_forked_under_a_batch_sent_from_here_leaves_it_to_its_parent() -> None:
    """The parent reads the answer of what it sent before the fork; the child has a connection of its own."""
    with OtlpSink() as sink, Queued(traces(sink), max_export_batch_size=10) as queued:
        queued.end("opens the connection")
        assert queued.provider.force_flush(60_000)
        queued.fill(*range(10))
        child = os.fork()
        if not child:
            queued.end("child")
            os._exit(0 if queued.provider.force_flush(60_000) else 1)
        _, status = os.waitpid(child, 0)
        assert queued.provider.force_flush(60_000)
        assert os.waitstatus_to_exitcode(status) == 0
        assert len(sink.spans) == 12
        assert queued.exporter.stats()[0].sent == 11


def test_a_batch_that_finds_the_one_before_unanswered_is_sent_as_soon_as_that_is() -> None:
    """A slow answer leaves nothing behind in the spool: what came meanwhile does not wait for another full batch."""
    answer, seen = threading.Event(), []

    def script(connection: socket.socket, _: int) -> None:
        while request := read_request(connection):
            seen.append(request)
            if len(seen) == 2:
                answer.wait(20)
            connection.sendall(OK)

    with RawServer(script) as server, Queued(server.url, max_export_batch_size=10) as queued:
        queued.end("opens the connection")
        assert queued.provider.force_flush(60_000)
        queued.fill(*range(10))
        wait_until(lambda: len(seen) == 2, seconds=10, what="a batch from here")
        queued.fill(*range(30))
        answer.set()
        wait_until(lambda: len(seen) == 5, seconds=10, what="the three batches after it")
        wait_until(lambda: queued.exporter.stats()[0].sent == 41, seconds=10, what="all of them settled")


def test_a_collector_that_goes_away_under_a_batch_sent_from_here_holds_nobody_up() -> None:
    """Whoever completes the next batch neither connects anew nor waits for an answer: the sender's own thread does."""
    returned, hung, gone = threading.Event(), [], threading.Event()

    def script(connection: socket.socket, number: int) -> None:
        if number == 1:
            read_request(connection)
            connection.sendall(OK)
            read_request(connection)
            connection.shutdown(socket.SHUT_RDWR)
            gone.set()
            return
        read_request(connection)
        hung.append(not returned.wait(8))
        connection.sendall(OK)
        keep_answering(OK)(connection, number)

    with RawServer(script) as server, Queued(server.url, max_export_batch_size=10) as queued:
        queued.end("opens the connection")
        assert queued.provider.force_flush(60_000)
        queued.fill(*range(10))
        assert gone.wait(60)
        queued.answered()
        queued.fill(*range(10))
        returned.set()
        wait_until(lambda: queued.exporter.stats()[0].sent == 21, seconds=10, what="both batches")
        assert hung == [False]


def test_the_time_of_a_request_ends_when_its_answer_comes_not_when_it_is_read() -> None:
    """An answer that lies in the kernel until the next batch does not make the collector look slow."""
    pause = 0.6
    with OtlpSink() as sink, Queued(traces(sink), max_export_batch_size=10) as queued:
        queued.end("opens the connection")
        assert queued.provider.force_flush(60_000)
        queued.fill(*range(10))
        wait_until(lambda: len(sink.spans) == 11, seconds=10, what="a batch from here")
        queued.answered()
        time.sleep(pause)
        queued.fill(*range(10))
        stats = queued.exporter.stats()[0]
        assert stats.sent == 11
        assert stats.latency < pause


@pytest.mark.parametrize("kept", [False, True])
def test_a_batch_of_large_spans_is_sent_in_parts(kept: bool) -> None:
    """Nobody joins and copies many megabytes at a stretch: a request has one megabyte, and one span more."""
    seen: list[int] = []

    def script(connection: socket.socket, _: int) -> None:
        while request := read_request(connection):
            seen.append(len(request))
            connection.sendall(OK)

    with RawServer(script) as server, Queued(server.url, max_export_batch_size=64) as queued:
        recent = queued.queue.keep() if kept else tuple
        queued.end("opens the connection")
        assert queued.provider.force_flush(60_000)
        for number in range(64):
            queued.tracer.start_span("large", attributes={"value": f"{number}" + "x" * 100_000}).end()
        wait_until(lambda: queued.exporter.stats()[0].sent == 65, seconds=20, what="all of them without a flush")
        assert max(seen) < 1_200_000
        assert queued.queue.counts() == {"exported": 65, "failed": 0, "queue_full": 0, "after_shutdown": 0}
        numbers = [number for _, _, encoded in recent() for number in re.findall(rb"(\d+)xxx", encoded)]
        assert numbers == [b"%d" % number for number in range(64)][64 - len(numbers) :]
        assert bool(numbers) is kept
