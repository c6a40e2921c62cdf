"""Who hands a batch over tells a sender's thread half of whose wait is over to wait anew; nobody waits long for it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep

import pytest

from otel_distro.otlp.sender import Sender
from tests.forking import in_child
from tests.held_up import delays, held_up
from tests.integration.test_otlp_queue import Queued, traces
from tests.integration.test_sender_under_load import briefs, end
from tests.otlp_servers import OK, RawServer, read_request
from tests.servers.sink import OtlpSink
from tests.servers.waiting import wait_until

_BATCH = 64
_DELAY = 0.4
"""Seconds; less than a sender leaves an answer alone, for which its thread would wake up earlier."""
_TIMES = 20_000
"""Calls of which each would wait half a millisecond: ten seconds, and some milliseconds where none does."""


class Handing(Queued):
    """A queue whose batches leave from this thread over an open connection."""

    def __init__(self, url: str, delay: float = _DELAY) -> None:
        super().__init__(url, schedule_delay=int(delay * 1000), max_export_batch_size=_BATCH)
        self.sender: Sender = self.exporter._export.sender
        self._statements = briefs(self.provider)
        self.ended = 0

    def end_statements(self, number: int) -> None:
        """So many spans end."""
        end(self._statements, number)
        self.ended += number

    def connect(self) -> None:
        """Open the connection, and start the thread."""
        self.end_statements(1)
        assert self.provider.force_flush(10_000)

    @property
    def left(self) -> float:
        """Seconds until half of the sender's wait is over; infinite while its thread does not wait."""
        return self.sender._ring_from - monotonic()

    def postponed(self) -> bool:
        """Hand a batch over when half of the sender's wait is over; whether it soon has begun another one.

        Returns:
            False also where this thread came too late for that, on a busy machine.
        """
        # on a busy machine, where the thread was long in coming back, it would not ring for a minute
        self.sender._rings_again = 0.0
        wait_until(lambda: self.left < 10, seconds=10, what="a sender that waits")
        half = self.sender._ring_from
        sleep(max(half - monotonic(), 0.0) + 0.01)
        began = monotonic()
        if self.sender._ring_from != half or began > half + _DELAY / 4:
            return False
        before = self.queue.counts()["exported"]
        self.end_statements(_BATCH)
        if self.queue.counts()["exported"] == before:
            self.end_statements(_BATCH)  # the ledger had not given them all
        while monotonic() < half + _DELAY / 2:
            again = self.sender._ring_from
            if half < again < monotonic() + 10:
                assert again >= began + _DELAY / 2, "it waits for its whole delay from the batch on"
                return True
            sleep(0.001)
        return False


def in_no_time(sender: Sender) -> bool:
    """Whether many handings over do not wait for the sender, but perhaps the first."""
    began = monotonic()
    for _ in range(_TIMES):
        sender.postpone()
    return monotonic() - began < 2


@contextmanager
def hung() -> Iterator[tuple[Handing, threading.Event]]:
    """A sender whose request is not answered until the event is set."""
    seen, answer = threading.Event(), threading.Event()

    def slow(connection: socket.socket, _: int) -> None:
        while read_request(connection):
            seen.set()
            answer.wait(20)
            connection.sendall(OK)

    with RawServer(slow) as server, Handing(server.url) as handing:
        handing.end_statements(1)
        assert seen.wait(10), "the first request, from the sender's thread"
        try:
            yield handing, answer
        finally:
            answer.set()


# --- a sender that waits ---------------------------------------------------------------------------------------------


def test_a_batch_from_the_application_has_the_sender_begin_its_wait_anew() -> None:
    """Before the wait of the sender's thread ends it has begun another one, for a whole delay from the batch on."""
    with OtlpSink() as sink, Handing(traces(sink)) as handing:
        handing.connect()
        assert any(handing.postponed() for _ in range(20))
        assert handing.provider.force_flush(10_000)
        assert len({span.span_id for span in sink.spans}) == len(sink.spans) == handing.ended


def test_a_postponed_sender_fetches_what_an_idle_process_leaves_behind() -> None:
    """What ends after the last batch leaves when the delay is over, although nothing follows it."""
    with OtlpSink() as sink, Handing(traces(sink)) as handing:
        handing.connect()
        for _ in range(2):
            assert any(handing.postponed() for _ in range(20))
            handing.end_statements(3)
            began, before = monotonic(), delays()
            wait_until(lambda: len(sink.spans) == handing.ended, seconds=20, what="what was left behind")
            assert monotonic() - began - held_up(before, delays()) < 10 * _DELAY
        assert handing.queue.counts()["exported"] == handing.ended


def test_a_sender_that_waits_for_long_is_left_alone() -> None:
    """Where less than half of the wait is over, a batch does not wake the sender's thread."""
    with OtlpSink() as sink, Handing(traces(sink), delay=6) as handing:
        # its first wait is for the first look at its spool; afterwards nothing is under way
        handing.connect()

        def left_alone() -> bool:
            wait_until(lambda: 1.5 < handing.left < 10, seconds=20, what="a sender that waits")
            until = handing.sender._ring_from
            before = len(sink.spans)
            handing.end_statements(_BATCH)
            wait_until(lambda: len(sink.spans) > before, seconds=10, what="the batch")
            return handing.sender._ring_from == until

        assert any(left_alone() for _ in range(5)), "on a busy machine the wait may be over meanwhile"


# --- a sender that does not hear -------------------------------------------------------------------------------------


def test_nobody_waits_for_a_sender_that_never_started() -> None:
    """Without a thread there is nobody to wait for."""
    with OtlpSink() as sink, Handing(traces(sink)) as handing:
        assert in_no_time(handing.sender)
        handing.end_statements(2)
        wait_until(lambda: len(sink.spans) == 2, seconds=20, what="spans of a sender that has started since")


def test_nobody_waits_for_a_sender_that_has_ended() -> None:
    """After the end as before the start."""
    with OtlpSink() as sink, Handing(traces(sink)) as handing:
        handing.connect()
        wait_until(lambda: handing.left < 10, seconds=10, what="a sender that waits")
        handing.provider.shutdown(5_000)
        assert in_no_time(handing.sender)


def test_nobody_waits_for_a_busy_sender() -> None:
    """While a request is not answered, the application goes on, and so does the sender afterwards."""
    with hung() as (handing, answer):
        assert in_no_time(handing.sender)
        handing.end_statements(10 * _BATCH)
        assert in_no_time(handing.sender)
        answer.set()
        assert handing.provider.force_flush(10_000)
        assert handing.exporter.stats()[0].sent == handing.ended


def test_nobody_waits_twice_for_a_sender_that_cannot_go_on() -> None:
    """A thread that was called and has not come to it is not called again; when it can go on, it does as before."""
    with OtlpSink() as sink, Handing(traces(sink)) as handing:
        handing.connect()
        wait_until(lambda: handing.left < 10, seconds=10, what="a sender that waits")
        with handing.sender.lock:
            sleep(_DELAY)  # its wait ends meanwhile, and it needs the lock
            assert in_no_time(handing.sender)
        assert any(handing.postponed() for _ in range(20))
        handing.end_statements(1)
        wait_until(lambda: len(sink.spans) == handing.ended, seconds=20, what="all that ended")


@pytest.mark.parametrize("number", [1, 3 * _BATCH])
def test_a_child_of_a_fork_does_not_wait_for_its_parents_sender(number: int) -> None:
    """The thread that waits in the parent is not the child's, which sends from its own."""
    with OtlpSink() as sink, Handing(traces(sink)) as handing:
        handing.connect()
        wait_until(lambda: handing.left < 0, seconds=10, what="a sender half of whose wait is over")

        def look() -> object:
            quick = in_no_time(handing.sender)
            handing.end_statements(number)
            return quick, handing.provider.force_flush(10_000)

        assert in_child(look) == str((True, True))
        wait_until(lambda: len(sink.spans) == 1 + number, seconds=10, what="the child's spans")
        assert any(handing.postponed() for _ in range(20)), "the parent's goes on"
