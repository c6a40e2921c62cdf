"""Forks at random moments under load: no child hangs, and nothing is counted or sent twice."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

from tests.programs import run
from tests.servers import OtlpSink

# Threads make spans and counts as fast as they can while the main thread forks, so a fork comes while locks are held,
# a batch is encoded or a collection runs. Every span has a number of its own in its process.
PROGRAM = """
import json, os, random, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads, which is the point
from opentelemetry import metrics, trace

forks, threads = int(sys.argv[1]), int(sys.argv[2])
tracer, counter = trace.get_tracer("forks"), metrics.get_meter("forks").create_counter("work")
stop, lock, made = threading.Event(), threading.Lock(), [0]

def work():
    while not stop.is_set():
        with tracer.start_as_current_span("parent", attributes={"pid": os.getpid()}):
            counter.add(1, {"who": "parent"})
        with lock:
            made[0] += 1
        time.sleep(0.002)

def collect():
    while not stop.is_set():
        trace.get_tracer_provider().force_flush(200)
        metrics.get_meter_provider().force_flush(200)
        time.sleep(random.random() * 0.01)

def child():
    for number in range(3):
        with tracer.start_as_current_span("child", attributes={"pid": os.getpid(), "n": number}):
            counter.add(1, {"who": "child"})
    trace.get_tracer_provider().force_flush(40000)
    metrics.get_meter_provider().force_flush(40000)
    os._exit(0)

running = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
running.append(threading.Thread(target=collect, daemon=True))
for thread in running:
    thread.start()
alive, hung, failed = {}, 0, 0
for number in range(forks):
    time.sleep(random.random() * 0.01)
    pid = os.fork()
    if pid == 0:
        child()
    alive[pid] = time.monotonic()
    while len(alive) >= 8 or (number == forks - 1 and alive):
        for pid, since in list(alive.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                failed += status != 0
                del alive[pid]
            elif time.monotonic() - since > 90:
                os.kill(pid, 9); os.waitpid(pid, 0)
                hung += 1
                del alive[pid]
        time.sleep(0.002)
stop.set()
for thread in running:
    thread.join()
trace.get_tracer_provider().force_flush(40000)
metrics.get_meter_provider().force_flush(40000)
print(json.dumps({"hung": hung, "failed": failed, "made": made[0]}))
"""


@dataclass(frozen=True)
class Outcome:
    """What became of it; all but `forks` and `spans` should be 0.

    Attributes:
        forks: children.
        spans: that arrived.
        hung: children that had not ended after a minute and a half.
        failed: children that ended otherwise than in order.
        doubled: spans that arrived more than once.
        missing: spans that never arrived.
        miscounted: how far the counters are from what was counted.
    """

    forks: int
    spans: int
    hung: int
    failed: int
    doubled: int
    missing: int
    miscounted: int


def forks(count: int, *, threads: int = 3, seconds: float = 900) -> Outcome:
    """Fork `count` times while `threads` make telemetry."""
    with OtlpSink() as sink:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        program = f"import sys; sys.argv[1:] = ['{count}', '{threads}']\n{PROGRAM}"
        done = run(program, seconds=seconds, **environ)
        if done.returncode:
            raise RuntimeError(f"the program ended with {done.returncode}: {done.stderr[-2000:]}")
        said = json.loads(done.stdout)
        spans = Counter((span.trace_id, span.span_id) for span in sink.spans)
        wanted = said["made"] + 3 * (count - said["hung"] - said["failed"])
        last: dict[tuple[str, str], float] = {}
        for point in sink.points:
            if point.name == "work":
                key = str(point.resource.get("service.instance.id")), str(point.attributes["who"])
                last[key] = max(last.get(key, 0), float(point.value))
        return Outcome(
            forks=count,
            spans=len(spans),
            hung=said["hung"],
            failed=said["failed"],
            doubled=sum(spans.values()) - len(spans),
            missing=wanted - len(spans),
            miscounted=int(sum(last.values())) - wanted,
        )
