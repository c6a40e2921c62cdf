"""Signal handlers, forks and exceptions that fall into the sending of a batch from the application's thread."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from otel_distro.otlp._batch import Encoded
from otel_distro.settings import Distro
from tests.integration.test_otlp_queue import Queued, traces
from tests.otlp_servers import OK, RawServer, Speaking, batch, keep_answering, read_request
from tests.programs import run
from tests.servers.sink import OtlpSink
from tests.servers.waiting import wait_until


def interrupted(queued: Queued, handler: Callable[[], object]) -> None:
    """Have `handler` called once, as Python calls a signal's, in the middle of the next batch's hand-over."""
    join: Callable[[Any], Encoded] = queued.queue._join

    def interrupting(pieces: Any) -> Encoded:
        queued.queue._join = join
        handler()
        return join(pieces)

    queued.queue._join = interrupting


def test_a_signal_handler_that_flushes_and_ends_never_waits_for_the_frame_it_interrupts() -> None:
    """The flush says that it did not, the shutdown is done as soon as the interrupted frame has let go."""
    with OtlpSink() as sink:
        queued = Queued(traces(sink), max_export_batch_size=10)
        queued.end("opens the connection")
        assert queued.provider.force_flush(60_000)
        flushed: list[bool] = []

        def handler() -> None:
            flushed.append(queued.provider.force_flush(20_000))
            queued.provider.shutdown(60_000)

        interrupted(queued, handler)
        began = time.monotonic()
        queued.fill(*range(10))
        assert time.monotonic() - began < 18  # not the 20 s of the flush
        assert flushed == [False]
        assert len(sink.spans) == 11
        queued.end("late")
        assert queued.queue.counts()["after_shutdown"] == 1


def test_a_signal_handler_that_comes_as_the_lock_is_taken_finds_it_taken() -> None:
    """There is no moment at which the lock is held and its holder unknown, also where a handler's own span ends."""
    with OtlpSink() as sink, Queued(traces(sink), max_export_batch_size=10) as queued:
        queued.end("opens the connection")
        assert queued.provider.force_flush(60_000)
        flushed: list[bool] = []

        def taken(frame: FrameType, event: str, called: object) -> None:
            if event == "c_return" and frame.f_code.co_name == "_handed_over_now" and queued.queue._draining.locked():
                sys.setprofile(None)
                queued.end(*range(10, 20))
                flushed.append(queued.provider.force_flush(20_000))

        sys.setprofile(taken)
        began = time.monotonic()
        try:
            queued.end(*range(10))
        finally:
            sys.setprofile(None)
        assert time.monotonic() - began < 18  # not the 20 s of the flush
        assert flushed == [False]
        assert queued.provider.force_flush(60_000)
        assert len(sink.spans) == 21


def test_a_signal_handler_that_forks_leaves_parent_and_child_whole() -> None:
    """Ending the span raises in neither of the two, and what waited leaves from the parent."""
    with OtlpSink() as sink, Queued(traces(sink), max_export_batch_size=10) as queued:
        queued.end("opens the connection")
        assert queued.provider.force_flush(60_000)
        children: list[int] = []
        interrupted(queued, lambda: children.append(os.fork()))
        try:
            queued.fill(*range(10))
        finally:
            if children == [0]:
                os._exit(1 if queued.lines else 0)
        _, status = os.waitpid(children[0], 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert queued.provider.force_flush(60_000)
        assert {span.name for span in sink.spans} == {*map(str, range(10)), "opens the connection"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_exception_of_a_signal_handler_loses_no_batch(error: type[BaseException]) -> None:
    """What was taken out of the queue when the exception came is back in it, and leaves with the next."""
    with OtlpSink() as sink, Queued(traces(sink), max_export_batch_size=10) as queued:
        queued.end("opens the connection")
        assert queued.provider.force_flush(60_000)

        def handler() -> None:
            raise error

        interrupted(queued, handler)
        with pytest.raises(error):
            queued.fill(*range(10))
        queued.end("after it")
        assert queued.provider.force_flush(60_000)
        assert len(sink.spans) == 12


@pytest.mark.parametrize("function", ["begin", "answered"])
def test_an_exception_in_the_middle_of_a_request_mixes_up_no_answers(function: str) -> None:
    """A request whose state is unknown is given up with its connection; its batch is sent again, rather than lost."""
    with OtlpSink() as sink, Queued(traces(sink), max_export_batch_size=10) as queued:
        queued.end("opens the connection")
        assert queued.provider.force_flush(60_000)
        if function == "answered":
            queued.fill(*range(10))
            wait_until(lambda: len(sink.spans) == 11, seconds=10, what="a batch from here")
            queued.answered()

        def raising(frame: FrameType, event: str, _: object) -> None:
            code = frame.f_code
            if event == "return" and code.co_name == function and code.co_filename.endswith("client.py"):
                sys.setprofile(None)
                raise KeyboardInterrupt

        sys.setprofile(raising)
        try:
            with pytest.raises(KeyboardInterrupt):
                queued.fill(*range(10, 20))
        finally:
            sys.setprofile(None)
        held = queued.exporter._export.sender
        with held.lock:
            assert held._client._connection is not None
            assert not held._client._connection.is_open
        queued.end(*range(20, 30))
        assert queued.provider.force_flush(60_000)
        arrived = {span.name for span in sink.spans}
        assert {"opens the connection", *map(str, range(10, 30))} <= arrived
        stats = queued.exporter.stats()[0]
        assert (stats.sent, stats.queued) == (len(arrived), 0)


def test_what_needs_a_disk_is_left_to_the_senders_thread(tmp_path: Path) -> None:
    """Nobody who completes a batch reads files of the spool, or writes all that waits into it after a bad answer."""
    bad = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"

    def script(connection: socket.socket, _: int) -> None:
        for answer in (OK, OK, bad):
            if read_request(connection):
                connection.sendall(answer)
        keep_answering(OK)(connection, 0)

    with RawServer(script) as server, Speaking(server.url, distro=Distro(spool_dir=str(tmp_path))) as speaking:
        sender, client = speaking.sender, speaking.sender._client
        assert speaking.send(1)
        with sender.lock:  # the thread stays away
            for number, there in ((2, True), (3, False)):
                assert client.begin(batch(number).body) == b""
                assert client._connection is not None
                assert select.select([client._connection._socket], [], [], 60)[0], "its answer"
                assert (client.answered() is not None) is there
                if not there:
                    client.finish(b"", b"")
            sender._spool.put(batch(4).body, 1, away=True)
            sender.accept(batch(5), stay=True)
            assert sender._express.begun is None
        assert sender.flush(60)
        assert sender.stats().sent == 3


_TERMINATED = """
import os, signal, sys, time
from opentelemetry import trace

tracer = trace.get_tracer("test")

def within(frame, event, _):
    if event == "call" and frame.f_code.co_name == "_joined":
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGTERM)

tracer.start_span("first").end()
assert trace.get_tracer_provider().force_flush(60_000)
sys.setprofile(within)
for number in range(10):
    tracer.start_span(str(number)).end()
time.sleep(20)
"""


def test_sigterm_in_the_middle_of_a_hand_over_loses_nothing() -> None:
    """The process ends by the signal and everything has been sent, although the signal found the locks taken."""
    with OtlpSink() as sink:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "5",
        }
        ended = run(_TERMINATED, seconds=150, **settings)
        assert ended.returncode == -signal.SIGTERM
        names = [span.name for span in sink.spans]
        assert "first" in names
        assert {"0", "1", "2", "3", "4"} <= set(names)
        assert len(names) == len(set(names))
