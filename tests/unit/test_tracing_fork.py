"""Forks: a child starts empty, with ids, a thread and a resource of its own; the parent loses and doubles nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

SCRIPT = """
import json, os, sys, threading
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind
from tests.tracing_rig import Recorder, provider, queue

exporter = Recorder()
made = queue(exporter, max_export_batch_size=64)
traced = provider(made, resource_for_child=lambda: Resource({"pid": os.getpid()}))
tracer = traced.get_tracer("t")

def end(name):
    span = tracer.start_span(name)
    span.end()
    return span.get_span_context()

BEFORE

def report(who):
    ids = [end(f"{who} {number}").trace_id for number in range(3)]
    flushed = traced.force_flush(20_000)
    # one write, so that lines of several processes do not mix
    os.write(1, (json.dumps({
        "who": who, "names": exporter.names, "ids": ids, "flushed": flushed, "counts": dict(made.counts()),
        "pids": [span.resource.attributes.get("pid") for call in exporter.calls for span in call], "pid": os.getpid(),
        "threads": sum(thread.name == "otel-distro-rig" for thread in threading.enumerate()),
    }) + "\\n").encode())

children = []
for number in range(FORKS):
    pid = os.fork()
    if pid == 0:
        report(f"child{number}")
        AFTER
        os._exit(0)
    children.append(pid)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
report("parent")
"""


def forked(before: str, *, forks: int = 1, after: str = "pass") -> dict[str, Any]:
    """Run the script; what each process reported, by name."""
    script = SCRIPT.replace("BEFORE", before).replace("FORKS", str(forks)).replace("AFTER", after)
    # a thread older than the fork is the point of some of these
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return {report["who"]: report for report in map(json.loads, output.splitlines())}


def test_a_child_exports_its_own_and_the_parent_its_own() -> None:
    """What waited at the fork is exported by the parent alone; the child's thread runs again and sends its spans."""
    reports = forked('end("waiting")')
    assert reports["child0"]["names"] == ["child0 0", "child0 1", "child0 2"]
    assert reports["parent"]["names"] == ["waiting", "parent 0", "parent 1", "parent 2"]
    for report in reports.values():
        assert report["flushed"] is True
        assert report["threads"] == 1
        assert report["counts"]["exported"] == len(report["names"])


def test_ids_differ_between_parent_and_children() -> None:
    """Children draw other ids than their parent and each other, though they were the same process."""
    reports = forked("", forks=3)
    ids = [each for report in reports.values() for each in report["ids"]]
    assert len(set(ids)) == 12


def test_a_childs_spans_carry_its_own_resource() -> None:
    """Tracers made before the fork give the child's resource, so that instances can be told apart."""
    reports = forked("tracer.start_span('early')")
    assert reports["child0"]["pids"] == [reports["child0"]["pid"]] * 3
    assert reports["parent"]["pids"] == [None] * 3


def test_a_fork_while_the_exporter_works_and_locks_are_held() -> None:
    """A child of a process whose queue, flush and exporter are busy starts clean and hangs nowhere."""
    busy = """
class Busy(Recorder):
    def export(self, spans):
        for _ in range(1000):
            pass
        return super().export(spans)

made._exporter = exporter = Busy()
stop = threading.Event()
def work():
    while not stop.is_set():
        end("busy")
        traced.force_flush(1)
workers = [threading.Thread(target=work, daemon=True) for _ in range(3)]
for worker in workers:
    worker.start()
"""
    reports = forked(f"{busy}\nimport time; time.sleep(0.1)\nexporter.calls.clear()", forks=8)
    children = [report for who, report in reports.items() if who != "parent"]
    assert len(children) == 8
    for report in children:
        assert report["flushed"] is True
        assert report["names"][-3:] == [f"{report['who']} {number}" for number in range(3)]
        assert report["counts"]["exported"] == 3


def test_a_child_of_a_provider_that_was_shut_down_stays_so() -> None:
    """After a shutdown in the parent a child exports nothing and counts what it drops."""
    report = forked("traced.shutdown()")["child0"]
    assert report["names"] == []
    assert report["counts"]["after_shutdown"] == 3


def test_a_child_may_fork_and_shut_down_itself() -> None:
    """A grandchild starts as clean as a child."""
    grandchild = """
        pid = os.fork()
        if pid == 0:
            exporter.calls.clear()
            report("grandchild")
            traced.shutdown()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        traced.shutdown()"""
    reports = forked('end("waiting")', after=grandchild.strip())
    assert reports["grandchild"]["names"] == [f"grandchild {number}" for number in range(3)]
    assert len(set(reports["grandchild"]["ids"]) | set(reports["child0"]["ids"])) == 6
