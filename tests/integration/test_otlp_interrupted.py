"""Signal handlers, forks and exceptions that fall into the sending of a batch from the application's thread."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from otel_distro.otlp._batch import Encoded
from tests.integration.test_otlp_queue import Queued, traces
from tests.servers.sink import OtlpSink


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
        assert queued.provider.force_flush(5000)
        flushed: list[bool] = []

        def handler() -> None:
            flushed.append(queued.provider.force_flush(20_000))
            queued.provider.shutdown(5000)

        interrupted(queued, handler)
        began = time.monotonic()
        queued.end(*range(10))
        assert time.monotonic() - began < 10
        assert flushed == [False]
        assert len(sink.spans) == 11
        queued.end("late")
        assert queued.queue.counts()["after_shutdown"] == 1


def test_a_signal_handler_that_forks_leaves_parent_and_child_whole() -> None:
    """Ending the span raises in neither of the two, and what waited leaves from the parent."""
    with OtlpSink() as sink, Queued(traces(sink), max_export_batch_size=10) as queued:
        queued.end("opens the connection")
        assert queued.provider.force_flush(5000)
        children: list[int] = []
        interrupted(queued, lambda: children.append(os.fork()))
        try:
            queued.end(*range(10))
        finally:
            if children == [0]:
                os._exit(1 if queued.lines else 0)
        _, status = os.waitpid(children[0], 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert queued.provider.force_flush(5000)
        assert {span.name for span in sink.spans} == {*map(str, range(10)), "opens the connection"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_exception_of_a_signal_handler_loses_no_batch(error: type[BaseException]) -> None:
    """What was taken out of the queue when the exception came is back in it, and leaves with the next."""
    with OtlpSink() as sink, Queued(traces(sink), max_export_batch_size=10) as queued:
        queued.end("opens the connection")
        assert queued.provider.force_flush(5000)

        def handler() -> None:
            raise error

        interrupted(queued, handler)
        with pytest.raises(error):
            queued.end(*range(10))
        queued.end("after it")
        assert queued.provider.force_flush(5000)
        assert len(sink.spans) == 12


_TERMINATED = """
import os, signal, sys, time
from opentelemetry import trace

tracer = trace.get_tracer("test")

def within(frame, event, _):
    if event == "call" and frame.f_code.co_name == "_joined":
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGTERM)

tracer.start_span("first").end()
time.sleep(0.3)
sys.setprofile(within)
for number in range(10):
    tracer.start_span(str(number)).end()
time.sleep(60)
"""


def test_sigterm_in_the_middle_of_a_hand_over_loses_nothing() -> None:
    """The process ends by the signal and everything has been sent, although the signal found the locks taken."""
    with OtlpSink() as sink:
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "5",
        }
        command = [sys.executable, "-m", "otel_distro", "run", sys.executable, "-c", _TERMINATED]
        ended = subprocess.run(command, env=environ, timeout=60, check=False)
        assert ended.returncode == -signal.SIGTERM
        names = [span.name for span in sink.spans]
        assert "first" in names
        assert {"0", "1", "2", "3", "4"} <= set(names)
        assert len(names) == len(set(names))
