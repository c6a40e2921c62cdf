"""Ends of a process: what waits is sent on each of them, within one budget, and the end stays what it was."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from otel_distro.exits import Exits
from otel_distro.guard import Guard
from tests import programs
from tests.servers import OtlpSink

PROGRAM = """
import os, signal, sys, time
from otel_distro.exits import Exits
from otel_distro.guard import Guard
{before}
Exits(
    flush=lambda seconds: print("flush", flush=True),
    shutdown=lambda seconds: print("shutdown", flush=True),
    budget=2.0,
    guard=Guard(),
).watch()
{after}
"""


def run(after: str, before: str = "") -> subprocess.CompletedProcess[str]:
    code = PROGRAM.format(before=before, after=after)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)


def make(spend: float = 0.0, budget: float = 2.0) -> tuple[Exits, list[float]]:
    given: list[float] = []

    def send(seconds: float) -> None:
        given.append(seconds)
        time.sleep(spend)

    return Exits(flush=send, shutdown=send, budget=budget, guard=Guard(output=lambda level, text: None)), given


def test_the_first_process_of_a_container_works_on_after_sigterm() -> None:
    """SIGTERM does not end process 1 of a container by default: what waits is sent, and what follows is recorded."""
    code = PROGRAM.format(before="", after="os.kill(os.getpid(), signal.SIGTERM); print(os.getpid(), flush=True)")
    first = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    done = subprocess.run([*first, sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "flush\n1\nshutdown\n"), done.stderr


def test_a_normal_end_shuts_down_once() -> None:
    """A program that simply ends sends what waits, once."""
    assert run("").stdout == "shutdown\n"


def test_an_unhandled_exception_is_an_end_too() -> None:
    """A traceback and exit status 1 stay, and telemetry leaves."""
    done = run("raise RuntimeError('x')")
    assert (done.returncode, done.stdout) == (1, "shutdown\n")
    assert "RuntimeError: x" in done.stderr


def test_sigterm_shuts_down_and_still_ends_by_the_signal() -> None:
    """Whoever sent SIGTERM sees a process that was ended by it."""
    done = run("os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)")
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "shutdown\n")


@pytest.mark.parametrize(("after", "code"), [("", 0), ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)", -15)])
@pytest.mark.parametrize("again", [False, True])
def test_sigterm_during_an_end_cuts_nothing_short(after: str, code: int, again: bool) -> None:
    """A pool's `terminate`, or whoever sends SIGTERM twice, meets an end that goes on, and then sees that it came."""
    kill = "os.kill(os.getpid(), signal.SIGTERM)" if again else "None"
    slow = f"print('begun', flush=True), {kill}, time.sleep(0.1), print('sent', flush=True)"
    program = PROGRAM.replace('print("shutdown", flush=True)', f"({slow})").format(before="", after=after)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM if again else code, "begun\nsent\n")


def test_a_handler_of_the_applications_own_is_left_alone() -> None:
    """Where somebody already handles SIGTERM, that stays so, before and after."""
    mine = "signal.signal(signal.SIGTERM, lambda *_: (print('mine', flush=True), sys.exit(5)))"
    kill = "os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)"
    for done in (run(kill, before=mine), run(f"{mine}\n{kill}")):
        assert (done.returncode, done.stdout) == (5, "mine\nshutdown\n")


def test_an_ignored_sigterm_stays_ignored() -> None:
    """SIG_IGN is a decision of the application's."""
    done = run("os.kill(os.getpid(), signal.SIGTERM); print('alive')", before="signal.signal(15, signal.SIG_IGN)")
    assert done.stdout == "alive\nshutdown\n"


def test_a_thread_other_than_the_main_one_sets_no_handler() -> None:
    """Signals belong to the main thread; started elsewhere, only the normal end is watched."""
    before = "import threading"
    code = "print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"
    program = PROGRAM.format(before=before, after="").replace("Exits(", "e = Exits(").replace(").watch()", ")")
    program += f"\nt = threading.Thread(target=e.watch); t.start(); t.join()\n{code}\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "True\nshutdown\n"


def test_the_flushes_of_one_end_share_the_budget() -> None:
    """A server's shutdown, SIGTERM and atexit together take the budget once, not three times."""
    exits, given = make(spend=0.2, budget=0.3)
    for _ in range(3):
        exits._end(exits._flush)
    assert given[0] == pytest.approx(0.3)
    assert given[1] < 0.15
    assert given[2] == pytest.approx(0.1)


class Server:
    """Stands in the place of uvicorn's class; the real one is tested end to end."""

    def __init__(self) -> None:
        self.down: list[Any] = []

    async def serve(self, sockets: Any = None) -> Any:
        return sockets, signal.getsignal(signal.SIGTERM)

    async def shutdown(self, sockets: Any = None) -> str:
        self.down.append(sockets)
        return "down"


def test_a_uvicorn_server_flushes_after_its_shutdown() -> None:
    """The server's own shutdown runs first, with its arguments and result; then what waits is sent."""
    exits, given = make()
    exits.watch_uvicorn(SimpleNamespace(Server=Server))  # type: ignore[arg-type]
    server = Server()
    assert asyncio.run(server.shutdown(sockets=[1])) == "down"
    assert (server.down, given) == ([[1]], [2.0])


LEAVING = """
import os, signal, threading, urllib.request
from contextlib import asynccontextmanager
import uvicorn
from fastapi import FastAPI

@asynccontextmanager
async def lifespan(app):
    yield
    os._exit(3)

app = FastAPI(lifespan=lifespan)

@app.get("/leave")
def leave(port: int):
    return port

def ask():
    while not server.started:
        pass
    urllib.request.urlopen(f"http://127.0.0.1:{port}/leave?port={port}").read()
    os.kill(os.getpid(), signal.SIGTERM)

config = uvicorn.Config(app, port=0)
server = uvicorn.Server(config)
taken = config.bind_socket()
port = taken.getsockname()[1]
threading.Thread(target=ask, daemon=True).start()
server.run([taken])
"""


@pytest.mark.parametrize("collector", ["there", "away"])
def test_an_application_that_leaves_in_its_lifespan_has_told_its_requests(collector: str) -> None:
    """`os._exit` at the end of a lifespan, as Chainlit has it, loses no request; without a collector it still ends."""
    with OtlpSink() as sink:
        url = sink.url if collector == "there" else "http://127.0.0.1:9"
        done = programs.run(LEAVING, OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_BSP_SCHEDULE_DELAY="60000")
        assert done.returncode == 3, done.stderr
        names = [span.name for span in sink.spans if span.kind == "SERVER"]
    assert names == (["GET /leave"] if collector == "there" else [])


def test_a_uvicorn_server_gives_sigterm_back_to_us() -> None:
    """Where gunicorn's worker has put the default back, our handler is what uvicorn finds, and gives the signal to."""
    exits, _ = make()
    exits.watch_uvicorn(SimpleNamespace(Server=Server))  # type: ignore[arg-type]
    found = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        assert asyncio.run(Server().serve(sockets=[1])) == ([1], exits._on_sigterm)
    finally:
        signal.signal(signal.SIGTERM, found)


def test_a_failing_flush_stays_inside() -> None:
    """Whatever goes wrong at the end, the end goes on."""
    guard = Guard(output=lambda level, text: None)
    exits = Exits(flush=lambda seconds: 1 / 0, shutdown=lambda seconds: 1 / 0, budget=1, guard=guard)
    exits._end(exits._flush)
    assert guard.failures[0].part == "exit"


class WorkHorse:
    """A worker of RQ: `perform_job` is the last thing before `os._exit` where it has forked for the job."""

    def __init__(self, *, forked: bool) -> None:
        self._is_horse = forked

    def perform_job(self, job: str) -> str:
        if job == "bad":
            raise ValueError(job)
        return job


@pytest.mark.parametrize(("forked", "flushes"), [(True, 2), (False, 0)])
def test_a_work_horse_flushes_after_its_job(forked: bool, flushes: int) -> None:
    """Whether the job succeeds or not; a worker that does not fork goes on and has an end of its own."""
    exits, given = make()

    class Worker(WorkHorse):
        pass

    exits.watch_rq(cast("ModuleType", SimpleNamespace(Worker=Worker)))
    assert Worker(forked=forked).perform_job("good") == "good"
    with pytest.raises(ValueError, match="bad"):
        Worker(forked=forked).perform_job("bad")
    assert len(given) == flushes
