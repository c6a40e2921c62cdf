"""A program that measures and then forks, as Celery's prefork pool does: its children are seen, and answer after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.programs import OURS, environment
from tests.servers.base import free_port
from tests.servers.waiting import http_get, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

import pytest

PROGRAM = """
import os, signal, time
from otel_distro import Counter, observe
done = Counter("jobs.done")
observe("jobs.waiting", lambda: 2)
done.add(1)
for _ in range(2):
    if os.fork() == 0:
        done.add(1)
        end = time.process_time() + 0.5
        while time.process_time() < end:
            pass
        time.sleep(60)
print("forked", flush=True)
signal.pause()
"""


class Forked:
    """The program, with `/metrics` on a port of its own."""

    def __init__(self, runtime: Path) -> None:
        self.port = free_port()
        settings = {
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(self.port),
            "XDG_RUNTIME_DIR": str(runtime),
        }
        command = [*OURS, sys.executable, "-c", PROGRAM]
        self.process = subprocess.Popen(
            command, env=environment(settings), start_new_session=True, stdout=subprocess.PIPE
        )

    def sum_of(self, name: str) -> float:
        """Over the series of that name; 0 while nobody answers."""
        try:
            page = http_get(f"http://127.0.0.1:{self.port}/metrics", seconds=5).decode()
        except OSError:
            return 0
        return sum(
            float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith((name + "{", name + " "))
        )

    def close(self) -> None:
        """End all of it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def forked(tmp_path: Path) -> Iterator[Forked]:
    program = Forked(tmp_path)
    assert program.process.stdout is not None
    assert program.process.stdout.readline() == b"forked\n"
    yield program
    program.close()


def test_what_forked_children_observe_of_themselves_is_on_the_page(forked: Forked) -> None:
    """Processor time, processes, callbacks: half of a service's work would be missing, and its CPU alerts with it."""
    wait_until(lambda: forked.sum_of("otel_distro_process_count") == 3, seconds=20, what="three processes")
    wait_until(lambda: forked.sum_of("process_cpu_time_seconds_total") > 1, seconds=20, what="the children's time")
    assert forked.sum_of("jobs_waiting") == 6
    assert forked.sum_of("jobs_done_total") == 3


def test_a_forked_child_answers_when_its_parent_is_gone(forked: Forked) -> None:
    """A program that becomes a daemon, or is killed before its children, leaves the port to one of them."""
    wait_until(lambda: forked.sum_of("jobs_done_total") == 3, seconds=20, what="an answer of the parent")
    forked.process.kill()
    wait_until(lambda: forked.sum_of("otel_distro_process_count") == 2, seconds=20, what="an answer of a child")
    assert forked.sum_of("jobs_done_total") == 3
