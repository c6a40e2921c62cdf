"""Short forms of the long drills; `scripts/hardships` runs them in full length.

What mostly waits runs side by side, once for all the tests that look at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.hardships.canaries import KINDS, Leaks, leaks
from tests.hardships.ends import BEYOND, BUDGET, End, end
from tests.hardships.forks import forks
from tests.hardships.outage import outage, seen
from tests.hardships.processes import Served
from tests.programs import OURS, run
from tests.servers import OtlpSink
from tests.servers.waiting import http_get, wait_until


def test_an_outage_under_load_loses_nothing(tmp_path: Path) -> None:
    """Three seconds without a collector, 200 requests/s over 4 workers, spool on disk: all spans and counts arrive."""
    outcome = outage(tmp_path, seconds=3, around=0.5)
    assert outcome.requests > 100  # of 800 that a machine answers which does nothing else
    assert (outcome.failed, outcome.lost, outcome.doubled) == (0, 0, 0)
    assert outcome.counted == outcome.requests
    assert outcome.files > 0
    assert outcome.growth < 60_000_000


def test_forks_under_load_hang_nowhere_and_double_nothing() -> None:
    """A hundred children, forked while threads make, encode, send and collect: each ends, each span arrives once.

    Upstream hangs here (opentelemetry-python #4345, #4626, #4994), as did we in an export and in a late import.
    """
    outcome = forks(100)
    assert (outcome.hung, outcome.failed) == (0, 0)
    assert (outcome.doubled, outcome.missing, outcome.miscounted) == (0, 0, 0)


ENDS = ((0, "refuses"), (1, "refuses"), (2_000, "refuses"), (100_000, "refuses"), (2_000, "hangs"))


@pytest.fixture(scope="module")
def ends() -> Mapping[tuple[int, str], End]:
    """The end of a program for each number of waiting spans and behaviour of the collector."""
    # the one that computes would take the time that the others have
    busy, waiting = [case for case in ENDS if case[0] > 2_000], [case for case in ENDS if case[0] <= 2_000]
    with ThreadPoolExecutor(len(waiting)) as pool:
        found = dict(zip(waiting, pool.map(ended, waiting), strict=True))
    return found | {case: ended(case) for case in busy}


def ended(case: tuple[int, str]) -> End:
    """One end, or the first of three that keeps the budget: nobody counts for how long a whole machine stood still."""
    for _ in range(2):
        outcome = end(*case)
        if outcome.took <= BUDGET + BEYOND:
            return outcome
    return end(*case)


def test_time_limits_that_fall_into_telemetry_reach_the_application() -> None:
    """A handler of SIGALRM that raises is heard each time, wherever in a span, an attribute or a measurement it falls.

    Celery's soft time limits and RQ's work like that; a third of such exceptions was counted as failures of ours. What
    falls into somebody else's finaliser or callback of the garbage collector, Python itself keeps.
    """
    done = run(
        """
import signal, sys
from opentelemetry import metrics, trace
from otel_distro.session import opened
tracer, meter = trace.get_tracer("limits"), metrics.get_meter("limits")
counter, histogram = meter.create_counter("c"), meter.create_histogram("h")
raised = heard = number = 0
place, kept, unheard = [], [], []
def late(*given):
    global raised
    raised += 1
    place.clear()
    frame = given[1]
    while frame is not None:
        place.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    raise TimeoutError
def keep(unraisable):
    # of a thread that was just being started Python forgets the name, and that thread ends with a KeyError
    if unraisable.exc_type is not TimeoutError:
        return
    # the outermost frame is that of what Python has called; a handler alone fell into what has no frame
    frame = unraisable.exc_traceback.tb_frame
    foreign = frame.f_code is not late.__code__ and "otel_distro" not in frame.f_code.co_filename
    kept.append((foreign, repr(unraisable.object), frame.f_code.co_filename, frame.f_code.co_name))
sys.unraisablehook = keep
signal.signal(signal.SIGALRM, late)
for turn in range(400):
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.001 + turn % 97 * 1e-5)
            while raised == turn:
                number += 1
                with tracer.start_as_current_span("limited", attributes={"number": number}) as span:
                    span.set_attribute("more", number)
                    counter.add(1, {"number": number})
                    histogram.record(1.5, {"number": number % 3})
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        unheard.append(place[:])
    except TimeoutError:
        heard += 1
print(raised - heard, sum(foreign for foreign, *_ in kept), kept, unheard)
print([(failure.part, failure.reason) for failure in opened().guard.failures])
""",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_LOG_LEVEL="none",
    )
    assert done.returncode == 0, done.stderr
    lost, of_python, _ = done.stdout.split(maxsplit=2)
    assert lost == of_python, done.stdout


@pytest.mark.parametrize("case", ENDS, ids=lambda case: f"{case[0]}-{case[1]}")
def test_the_end_keeps_its_budget(case: tuple[int, str], ends: Mapping[tuple[int, str], End]) -> None:
    """Upstream takes 6.6 s with one span and 28 s with 1,900 (opentelemetry-python #3309, #4043); ours the budget."""
    outcome = ends[case]
    assert outcome.code == 0
    assert outcome.took <= BUDGET + BEYOND
    assert (outcome.lines > 0) == (case[0] > 0)
    assert outcome.lines <= 2


def test_a_fork_waits_for_a_late_import() -> None:
    """A module that a thread of ours imports at the moment of a fork is whole in the child."""
    code = """
import os, sys, threading, time
from otel_distro.process import unforked
inside = threading.Event()
def importing():
    with unforked():
        inside.set(); time.sleep(0.2); sys.modules["whole"] = sys
thread = threading.Thread(target=importing); thread.start(); inside.wait()
if os.fork() == 0:
    with unforked():
        print("whole" in sys.modules, flush=True)
    os._exit(0)
os.wait(); thread.join()
with unforked():
    print("parent", flush=True)
"""
    done = run(code, ("env", "PYTHONWARNINGS=ignore"))
    assert done.stdout == "True\nparent\n", done.stderr


def test_a_fork_that_cannot_wait_for_the_reader_of_metrics_is_said_in_the_child() -> None:
    """A child that came to be while its parent made the reader, and has none, says so; the next fork does not wait."""
    code = """
import os, threading, time
from opentelemetry import metrics
from otel_distro import process
process._GATE._STUCK = 0.2
[late] = metrics.get_meter_provider()._late
made, inside, go_on = late._make, threading.Event(), threading.Event()
def make():
    inside.set(); go_on.wait(20)
    return made()
late._make = make
thread = threading.Thread(target=late.come); thread.start(); inside.wait()
began = time.monotonic()
for number in range(2):
    pid = os.fork()
    if pid == 0:
        metrics.get_meter_provider().force_flush(1000)
        os._exit(0)
    os.waitpid(pid, 0)
print(time.monotonic() - began < 20, flush=True)
go_on.set(); thread.join()
pid = os.fork()
if pid == 0:
    metrics.get_meter_provider().force_flush(1000)
    os._exit(0)
os.waitpid(pid, 0)
"""
    with OtlpSink() as sink:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_METRICS_EXPORTER": "otlp"}
        done = run(code, ("env", "PYTHONWARNINGS=ignore", *OURS), **settings)
    assert done.stdout == "True\n", done.stderr
    assert done.stderr.count("forked while its parent made the reader of metrics") == 2, done.stderr


def test_a_child_of_a_fork_during_the_set_up_says_that_it_has_no_telemetry() -> None:
    """What another thread of the parent was importing stays locked in the child, so nothing is tried there again."""
    code = """
import os, threading
from otel_distro.session import opened
wake = opened().wake
inside, go_on = threading.Event(), threading.Event()
set_up = wake.__self__._set_up
def slowly():
    inside.set(); go_on.wait(20)
    set_up()
wake.__self__._set_up = slowly
thread = threading.Thread(target=wake); thread.start(); inside.wait()
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
go_on.set(); thread.join()
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
print("parent", flush=True)
"""
    done = run(code, ("env", "PYTHONWARNINGS=ignore", *OURS), OTEL_TRACES_EXPORTER="none")
    assert done.stdout == "parent\n", done.stderr
    assert done.stderr.count("forked while another thread of its parent set telemetry up") == 1, done.stderr


@pytest.fixture(scope="module")
def found() -> Mapping[bool, Leaks]:
    """Where canaries were seen, with the redaction taken away (True) and as it is."""
    with ThreadPoolExecutor(2) as pool:
        return dict(zip((True, False), pool.map(lambda naked: leaks(naked=naked), (True, False)), strict=True))


def test_no_canary_leaves_by_any_exit(found: Mapping[bool, Leaks]) -> None:
    """Secrets in URLs, headers, SQL, keys, attributes, messages, exceptions: none in OTLP, logs, stdout or Sentry."""
    ours = found[False]
    assert (ours.kinds, ours.where) == ((), ())
    assert set(ours.exits) == {"otlp logs", "otlp metrics", "otlp traces", "sentry", "stderr", "stdout"}


def test_without_redaction_every_canary_leaves(found: Mapping[bool, Leaks]) -> None:
    """The test above can fail: with the redaction taken away each of its canaries is seen."""
    assert set(found[True].kinds) == set(KINDS)


def test_workers_that_are_replaced_after_some_requests_lose_none(tmp_path: Path) -> None:
    """`gunicorn --max-requests`: what a worker has seen leaves with it (contrib #4916, opentelemetry-python #4215)."""
    server = ("gunicorn", "tests.hardships.application:app", "-k", "uvicorn_worker.UvicornWorker", "-w", "2")
    command = (*OURS, *server, "--max-requests", "5", "-b", "127.0.0.1:{port}")
    with OtlpSink() as sink:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_METRICS_EXPORTER": "none"}
        wanted = set(range(20))
        with Served(command, {**environ, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}, tmp_path / "log") as served:
            for number in wanted:
                url = f"http://127.0.0.1:{served.port}/n/{number}"
                wait_until(lambda url=url: http_get(url), seconds=20, what=url)  # type: ignore[misc]
            served.stop()
        arrived = seen(sink)
    assert wanted <= arrived.keys()
