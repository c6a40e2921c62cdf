"""When telemetry is set up: at the first sign of a process, and at once where something cannot wait."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.instrumentation import auto_instrumentation

from tests.servers.sink import OtlpSink

BIN = Path(sys.executable).parent
OURS = (str(BIN / "otel-distro"), "run")
STOCK = (str(BIN / "opentelemetry-instrument"),)
INJECTED = ("env", f"PYTHONPATH={Path(auto_instrumentation.__file__).parent}")
"""As Kubernetes' operator starts programs: the stock launcher's part in them, without itself."""
AWAKE = "from otel_distro.session import opened; awake = lambda: opened().pipeline is not None\n"


def run(launcher: tuple[str, ...], code: str, **environ: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SENTRY_"))}
    told = {
        "OTEL_PYTHON_DISTRO": "otel_distro",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        # a package of the test environment that waits for nothing would set everything up at once
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*",
        **environ,
    }
    command = [*launcher, sys.executable, "-c", AWAKE + code]
    done = subprocess.run(command, env={**kept, **told}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


ALL = """
import logging, asyncio, sys, subprocess
def refused(call):
    try: call()
    except Exception: return
    raise AssertionError("it should have raised")
def asleep(code):
    # a child for each sign, for one process wakes once
    import os
    pid = os.fork()
    if pid == 0:
        before = awake()
        exec(code, {"refused": refused})
        print(before, awake(), code, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
for code in SIGNS: asleep(code)
print("parent", awake())
"""
SIGNS = (
    "from opentelemetry import trace; trace.get_tracer('x')",
    "from opentelemetry.trace import get_tracer_provider as get; get()",
    "import opentelemetry.metrics as m; m.get_meter('x')",
    "from opentelemetry.propagate import inject; inject({})",
    "import logging; logging.getLogger('a').addHandler(logging.NullHandler()); logging.getLogger('a').error('said')",
    "import asyncio; asyncio.run(asyncio.sleep(0))",
    "import sqlalchemy; sqlalchemy.create_engine('sqlite://').connect()",
    "import redis; refused(redis.Redis(port=9).ping)",
    "import httpx; refused(lambda: httpx.get('http://127.0.0.1:9'))",
    "import requests; refused(lambda: requests.get('http://127.0.0.1:9'))",
    "import fastapi; refused(lambda: fastapi.FastAPI()({'type': 'http'}, None, None).send(None))",
    "import aiohttp",
    "import otel_distro; otel_distro.status()",
    "import otel_distro; otel_distro.set_user",
)


@pytest.mark.parametrize("launcher", [OURS, INJECTED], ids=["ours", "injected"])
def test_each_sign_sets_telemetry_up(launcher: tuple[str, ...]) -> None:
    """The API, a record, a loop, a library's first call, our own interface: each wakes what slept until then."""
    shown = run(launcher, f"SIGNS = {SIGNS!r}{ALL}").splitlines()
    assert shown == [*(f"False True {code}" for code in SIGNS), "parent False"]


NO_SIGNS = """
import json, threading, concurrent.futures, asyncio, http.client
import logging; logging.getLogger("quiet").debug("below the level")
from opentelemetry import baggage, context, metrics, propagate, trace
import opentelemetry.sdk.metrics, opentelemetry.sdk.trace
trace.get_current_span(), baggage.get_all(), context.get_current()
import httpx, redis, requests, sqlalchemy, fastapi, inspect
httpx.Client(), redis.Redis(), sqlalchemy.create_engine("sqlite://"), requests.Session(), fastapi.FastAPI()
assert inspect.iscoroutinefunction(fastapi.FastAPI().__call__) and not inspect.iscoroutinefunction(httpx.get)
print(awake())
"""


@pytest.mark.parametrize("launcher", [OURS, INJECTED], ids=["ours", "injected"])
def test_what_tells_of_nothing_wakes_nobody(launcher: tuple[str, ...]) -> None:
    """Imports, clients that ask nobody, a loop that never runs, a record below its level: the process sleeps on."""
    assert run(launcher, NO_SIGNS) == "False\n"


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_DISTRO_LOGS": "json"},
        {"OTEL_LOGS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        {"OTEL_DISTRO_LOG_LEVELS": "info"},
    ],
    ids=["lines", "records", "levels"],
)
def test_what_cannot_wait_is_set_up_at_once(environ: dict[str, str]) -> None:
    """Lines, records and levels act on what the application does first: nothing is put off where they are set."""
    assert run(OURS, "print(awake())", **environ) == "True\n"


def test_the_modules_are_those_that_python_would_have_made() -> None:
    """An import in whose middle everything was set up ends with the one module there is, under its own spec."""
    code = """
import importlib, sys
import opentelemetry.trace
from opentelemetry import trace, metrics
assert trace is opentelemetry.trace is sys.modules["opentelemetry.trace"]
assert opentelemetry is sys.modules["opentelemetry"] and metrics is opentelemetry.metrics
assert type(opentelemetry.__spec__.loader).__module__.startswith(("_frozen", "importlib")), opentelemetry.__spec__
assert type(trace).__name__ == "module" and trace.__spec__.name == "opentelemetry.trace"
print(type(trace.get_tracer_provider()).__name__, awake())
"""
    assert run(OURS, code) == run(INJECTED, code) == run(STOCK, code) == "LeanTracerProvider True\n"


def test_signs_in_several_threads_set_up_once() -> None:
    """Threads that import libraries at the same moment neither hang nor set anything up twice."""
    code = """
import threading, importlib, otel_distro.configurator as c
calls = []; original = c._configure
def counted(session): calls.append(1); original(session)
c._configure = counted
start = threading.Barrier(4)
def load(name): start.wait(); importlib.import_module(name)
names = ("aiohttp", "uvicorn.server", "otel_distro.measure", "otel_distro.context")
threads = [threading.Thread(target=load, args=(name,), daemon=True) for name in names]
for thread in threads: thread.start()
for thread in threads: thread.join(30)
print(len(calls), awake(), any(thread.is_alive() for thread in threads))
"""
    assert run(OURS, code) == "1 True False\n"


def test_the_moment_of_the_first_push_is_a_sign() -> None:
    """A process that only computes has its own metrics pushed all the same, when the first interval is over."""
    code = """
import time
deadline = time.monotonic() + 30
while not awake() and time.monotonic() < deadline: time.sleep(.01)
"""
    environ = {"OTEL_METRICS_EXPORTER": "console", "OTEL_METRIC_EXPORT_INTERVAL": "50"}
    assert "process." in run(OURS, code + "time.sleep(1); print(awake())", **environ)


FIRST_CALLS = """
import threading, httpx, sqlalchemy
start = threading.Barrier(4)
engine = sqlalchemy.create_engine("sqlite://")
def select():
    with engine.connect() as connection: connection.execute(sqlalchemy.text("select 1"))
def get():
    try: httpx.get("http://127.0.0.1:9")
    except httpx.ConnectError: pass
def ask(call): start.wait(); call()
threads = [threading.Thread(target=ask, args=(call,)) for call in (select, get) * 2]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(awake())
"""


def test_the_calls_that_wake_are_told_of() -> None:
    """The first call of a library, and those of other threads at that moment, make spans as all later ones do."""
    told = {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "",
    }
    with OtlpSink() as sink:
        assert run(OURS, FIRST_CALLS, **told, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url) == "True\n"
        assert sorted(span.name for span in sink.wait_for_spans(4)) == ["GET", "GET", "select", "select"]


def test_a_fork_in_the_middle_of_the_set_up_waits_for_it() -> None:
    """A child that another thread forks while telemetry is being set up has it."""
    code = """
import os, threading, warnings, otel_distro.configurator as c
warnings.simplefilter("ignore")  # Python's own about threads and forks
original, begun = c._configure, threading.Event()
def told(session): begun.set(); original(session)
c._configure = told
from opentelemetry import trace
thread = threading.Thread(target=trace.get_tracer, args=("x",))
thread.start(); begun.wait()
pid = os.fork()
if pid == 0:
    print(awake(), type(trace.get_tracer("x")).__name__, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
thread.join()
"""
    assert run(OURS, code) == "True LeanTracer\n"


@pytest.mark.parametrize(
    ("environ", "spared"),
    [
        ({}, True),
        ({"OTEL_DISTRO_PIPELINE": "upstream"}, False),
        ({"OTEL_PYTHON_DISTRO": "another"}, False),
        ({"OTEL_PYTHON_CONFIGURATOR": "another"}, False),
    ],
    ids=["ours", "upstream", "distro", "configurator"],
)
def test_the_stock_launcher_starts_programs_as_ours_does_where_it_is_certain(
    environ: dict[str, str], spared: bool
) -> None:
    """What it would import into a program that is to have our distro is spared; else it goes its own way."""
    code = "import sys; print('opentelemetry.instrumentation' not in sys.modules)"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON"))}
    told = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_PYTHON_DISTRO": "otel_distro"}
    command = [*STOCK, sys.executable, "-c", code]
    done = subprocess.run(command, env={**kept, **told, **environ}, capture_output=True, text=True, check=True)
    assert done.stdout == f"{spared}\n"
