"""Ends, forks and pauses that fall into the one moment where something is on its way: nothing is lost or sent twice."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from otel_distro.metrics.shared import fold
from tests.programs import OURS, ROOT, environment, run
from tests.servers import OtlpSink
from tests.servers.waiting import http_get, wait_until
from tests.serving import Serving

MEASURED = """
import os, signal, sys, time
from opentelemetry import metrics
counter = metrics.get_meter("races").create_counter("work")
for _ in range(100):
    counter.add(1)
# the thread that waits for the first push is in the middle of its imports
until = time.monotonic() + 30
while "opentelemetry.sdk.metrics" not in sys.modules and time.monotonic() < until:
    time.sleep(0.0005)
"""
ENDS = {
    "exit": "",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)",
    "flush": "assert metrics.get_meter_provider().force_flush(10_000); os._exit(0)",
}


@pytest.mark.parametrize("how", ENDS)
def test_an_end_while_the_reader_of_metrics_is_made_waits_for_it(how: str) -> None:
    """What was measured is pushed, also where the end comes between the reader's making and its being there."""
    with OtlpSink() as sink:
        settings = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "500"}
        done = run(MEASURED + ENDS[how], OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, **settings)
        pushed = {point.value for point in sink.points if point.name == "work"}
    assert done.returncode == (-signal.SIGTERM if how == "SIGTERM" else 0), done.stderr
    assert pushed == {100}, done.stderr


SETTLING = """
import os, signal, sys, time
made = os.open(sys.argv[2], os.O_CREAT | os.O_WRONLY)
from otel_distro.ledger import Ledger
turns, original = [], getattr(Ledger, sys.argv[1])
def interrupted(self, account, entries):
    turns.append(1)
    if len(turns) == 2:
        os.kill(os.getpid(), signal.SIGTERM)
    return original(self, account, entries)
setattr(Ledger, sys.argv[1], interrupted)
import requests
class Answers(requests.adapters.BaseAdapter):
    def send(self, request, **given):
        response = requests.Response()
        response.status_code, response.request, response.url, response._content = 200, request, request.url, b""
        return response
    def close(self):
        pass
session = requests.Session()
session.mount("http://", Answers())
for number in range(10_000):
    session.get("http://service/")
    os.pwrite(made, b"%08d" % (number + 1), 0)
"""


@pytest.mark.parametrize("step", ["_encoded", "_count"])
def test_sigterm_while_calls_are_settled_loses_none(step: str, tmp_path: Path) -> None:
    """Calls that a thread has taken out of the ledger, to encode and to count them, are there when the process ends."""
    made = tmp_path / "made"
    with OtlpSink() as sink:
        settings = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url}
        program = f"import sys; sys.argv[1:] = [{step!r}, {str(made)!r}]\n{SETTLING}"
        done = run(program, **settings)
        spans = len(sink.spans)
        counted = [point.count for point in sink.points if point.name == "http.client.request.duration"]
    assert done.returncode == -signal.SIGTERM, done.stderr
    calls = int(made.read_text())
    # the call in whose end the signal fell may be there or not
    assert spans - calls in {0, 1}
    assert counted[-1:] == [spans]


WORKER = "uvicorn.workers.UvicornWorker"


@pytest.mark.parametrize(
    "server",
    [
        ("uvicorn", "tests.hardships.application:app", "--port", "{port}"),
        ("gunicorn", "tests.hardships.application:app", "-k", WORKER, "-b", "127.0.0.1:{port}"),
    ],
    ids=["uvicorn", "gunicorn"],
)
@pytest.mark.parametrize("spool", [True, False], ids=["spool", "memory"])
def test_sigterm_beside_a_collector_that_hangs_keeps_or_says_what_waits(
    server: tuple[str, ...], spool: bool, tmp_path: Path
) -> None:
    """Spans that nobody took are in the spool's files, or the process says how many it loses."""
    files = tmp_path / "spool"
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{hanging.getsockname()[1]}",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_PYTHON_EXCLUDED_URLS": "health",
            **({"OTEL_DISTRO_SPOOL_DIR": str(files)} if spool else {}),
        }
        settings["PYTHONWARNINGS"] = "ignore"
        with Serving((*OURS, *server), settings, tmp_path / "log") as served:
            for number in range(100):
                http_get(f"{served.url}/n/{number}")
            served.stop(seconds=60)
    said = served.log()
    kept = sum(int(path.stem.rpartition("-")[2]) for path in files.rglob("*.otlp")) if spool else 0
    assert (kept == 100) if spool else ("100 spans were not delivered" in said), said


@pytest.mark.parametrize("how", ["", "os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)"], ids=["exit", "SIGTERM"])
def test_metrics_that_a_hanging_collector_did_not_take_are_said(how: str) -> None:
    """The last push is waited for within the budget, and counted as lost when that is over."""
    code = "from opentelemetry import metrics; metrics.get_meter('races').create_counter('work').add(1)"
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        done = run(
            f"import os, signal, time\n{code}\n{how}",
            OTEL_METRICS_EXPORTER="otlp",
            OTEL_TRACES_EXPORTER="none",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{hanging.getsockname()[1]}",
        )
    assert "points were not delivered" in done.stderr


PAUSED = """
import os, signal, threading, time
from opentelemetry import trace
from otel_distro.otlp import _http
send, sent = _http.send, threading.Event()
def pausing(*arguments):
    send(*arguments)
    if not sent.is_set():
        sent.set()
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.05)  # the signal stops all threads in a moment
_http.send = pausing
with trace.get_tracer("races").start_as_current_span("paused"):
    pass
sent.wait(20)
time.sleep(3)
"""


def test_a_batch_whose_answer_came_during_a_pause_is_not_sent_again() -> None:
    """A machine that stands still for longer than the timeout finds the answer when it goes on."""
    with OtlpSink() as sink:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1000",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        process = subprocess.Popen(
            [*OURS, sys.executable, "-c", PAUSED],
            env=environment(settings),
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: len(sink.requests) == 1, seconds=60, what="the first batch")
        stat = Path(f"/proc/{process.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", seconds=20, what="the pause")
        time.sleep(1.5)
        os.kill(process.pid, signal.SIGCONT)
        said = process.communicate(timeout=60)[1]
        assert [span.name for span in sink.spans] == ["paused"], said


def test_a_child_that_was_forked_during_a_folding_does_not_keep_its_lock(tmp_path: Path) -> None:
    """The dead of a group are folded by whoever comes next, however long such a child lives."""
    held, go_on = threading.Event(), threading.Event()

    class Slow:
        """A dead process whose files are looked for in the middle of a folding."""

        name = "slow"

        def there(self) -> bool:
            held.set()
            return go_on.wait(20) and False

    folding = threading.Thread(target=fold.fold, args=(tmp_path, [Slow()], 10, lambda: None))
    folding.start()
    held.wait(20)
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(tell, b"x")
        time.sleep(60)
        os._exit(0)
    try:
        os.read(ready, 1)
        go_on.set()
        folding.join()
        looked: list[bool] = []

        class Next(Slow):
            def there(self) -> bool:
                looked.append(True)
                return False

        fold.fold(tmp_path, [Next()], 10, lambda: None)  # type: ignore[list-item]  # a member by shape
        assert looked == [True]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(tell)
