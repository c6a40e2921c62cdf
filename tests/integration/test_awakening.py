"""When telemetry is set up: at the first sign of a process, and at once where something cannot wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import programs
from tests.programs import INJECTED, OURS, STOCK

AWAKE = "from otel_distro.session import opened; awake = lambda: opened().pipeline is not None\n"


def run(launcher: tuple[str, ...], code: str, **environ: str) -> str:
    """What the program says; it can ask whether it is `awake()`."""
    told = {
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        # a package of the test environment that waits for nothing would set everything up at once
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*",
        **environ,
    }
    done = programs.run(AWAKE + code, launcher, **told)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


ALL = """
import logging, asyncio, sys, subprocess
def asleep(code):
    # a child for each sign, for one process wakes once
    import os
    pid = os.fork()
    if pid == 0:
        before = awake()
        exec(code, {})
        print(before, awake(), code, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
for code in SIGNS: asleep(code)
print("parent", awake())
"""
SIGNS = (
    "from opentelemetry import trace; trace.get_tracer('x')",
    "import opentelemetry.metrics as m; m.get_meter('x')",
    "import opentelemetry.sdk.resources",
    "import logging; logging.getLogger('a').addHandler(logging.NullHandler()); logging.getLogger('a').error('said')",
    "import asyncio; asyncio.run(asyncio.sleep(0))",
    "import httpx",
    "import otel_distro; otel_distro.status()",
)


@pytest.mark.parametrize("launcher", [OURS, INJECTED], ids=["ours", "injected"])
def test_each_sign_sets_telemetry_up(launcher: tuple[str, ...]) -> None:
    """The API, the SDK, a record, a loop, a library, our own status: each wakes a process that slept until then."""
    shown = run(launcher, f"SIGNS = {SIGNS!r}{ALL}").splitlines()
    assert shown == [*(f"False True {code}" for code in SIGNS), "parent False"]


NO_SIGNS = """
import json, threading, concurrent.futures, asyncio, http.client
import logging; logging.getLogger("quiet").debug("below the level")
print(awake())
"""


@pytest.mark.parametrize("launcher", [OURS, INJECTED], ids=["ours", "injected"])
def test_what_tells_of_nothing_wakes_nobody(launcher: tuple[str, ...]) -> None:
    """Python's own modules, a loop that never runs, a record below its level: the process sleeps on."""
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


API = ("opentelemetry.trace", "opentelemetry.metrics", *(f"opentelemetry.sdk.{part}" for part in ("trace", "metrics")))


@pytest.mark.parametrize("launcher", [OURS, INJECTED], ids=["ours", "injected"])
@pytest.mark.parametrize("names", [("httpx", "redis", "sqlalchemy", "opentelemetry.trace"), API], ids=["any", "API"])
def test_signs_in_several_threads_set_up_once(launcher: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Threads that import libraries at the same moment neither hang nor set anything up twice, nor in vain."""
    code = f"""
import importlib, sys, threading, time, otel_distro.configurator as c
calls = []; original = c._configure
def counted(session): calls.append(1); original(session)
c._configure = counted
start = threading.Barrier({len(names)})
sys.setswitchinterval(1e-5)
def load(name): start.wait(); importlib.import_module(name)
threads = [threading.Thread(target=load, args=(name,), daemon=True) for name in {names!r}]
for thread in threads: thread.start()
for thread in threads: thread.join(30)
print(len(calls), awake(), any(thread.is_alive() for thread in threads))
"""
    assert run(launcher, code) == "1 True False\n"


def test_a_sign_that_is_an_import_never_waits_for_another_thread_that_imports(tmp_path: Path) -> None:
    """What is called before an import may import what another thread is in the middle of importing."""
    (tmp_path / "slow.py").write_text("import sys\nsys.begun.set()\nsys.go_on.wait(10)\nimport slow_too\n")
    (tmp_path / "slow_too.py").touch()
    (tmp_path / "sign.py").touch()
    code = f"""
import faulthandler, importlib, sys, threading
faulthandler.dump_traceback_later(20, exit=True)
sys.path.insert(0, {str(tmp_path)!r})
sys.begun, sys.go_on = threading.Event(), threading.Event()
other = threading.Thread(target=importlib.import_module, args=("slow",))
other.start()
sys.begun.wait()
def before():
    sys.go_on.set()
    importlib.import_module("slow")
opened().hooks.before_import("sign", before)
import sign
other.join()
print("slow_too" in sys.modules)
"""
    assert run(OURS, code) == "True\n"


def test_whoever_only_looks_for_the_api_finds_it_as_it_is() -> None:
    """`importlib.util.find_spec` is no import, and no sign; what it gives tells where the package is."""
    code = """
import importlib.util
found = importlib.util.find_spec("opentelemetry")
print(awake())
import opentelemetry.trace
print(awake(), list(found.submodule_search_locations) == list(opentelemetry.__path__))
print(type(opentelemetry.__spec__.loader).__name__, type(opentelemetry.__loader__).__name__)
"""
    assert run(OURS, code) == "False\nTrue True\nNamespaceLoader NamespaceLoader\n"


SET_UP = """
import gc, importlib, os, threading, time, otel_distro.configurator as c
original = c._configure
def end(pid):
    if pid == 0:
        ends = gc.isenabled() and opened().wake is None and not opened().guard.failures
        os._exit(0 if ends else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def test_a_fork_waits_for_the_set_up_in_another_thread() -> None:
    """A child has telemetry and its garbage collected, also where its parent was setting telemetry up."""
    code = f"""{SET_UP}
begun = threading.Event()
def slow(session):
    begun.set()
    until = time.monotonic() + 0.3
    while time.monotonic() < until: pass
    original(session)
c._configure = slow
importing = threading.Thread(target=importlib.import_module, args=("httpx",))
importing.start()
begun.wait()
print(end(os.fork()))
importing.join()
"""
    assert run(OURS, code) == "0\n"


def test_a_fork_out_of_the_set_up_waits_for_nothing_and_collects_garbage() -> None:
    """A signal's handler in the midst of the set-up may fork: nobody else would let it go on."""
    code = f"""{SET_UP}
def forking(session):
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if gc.isenabled() else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), time.monotonic() - began < 3)
    original(session)
c._configure = forking
import httpx
"""
    assert run(OURS, code, OTEL_LOG_LEVEL="none") == "0 True\n"  # the child says that it has no telemetry


def test_a_child_of_a_process_that_was_importing_never_waits_for_that_import(tmp_path: Path) -> None:
    """A module that a vanished thread was importing is locked for ever: the child does without telemetry."""
    (tmp_path / "slow.py").write_text("import sys\nsys.begun.set()\nsys.go_on.wait(30)\n")
    code = f"""
import importlib, logging, os, sys, threading
import otel_distro.configurator as c
c._configure = lambda session: importlib.import_module("slow")
sys.path.insert(0, {str(tmp_path)!r})
sys.begun, sys.go_on = threading.Event(), threading.Event()
importing = threading.Thread(target=importlib.import_module, args=("slow",))
importing.start()
sys.begun.wait()
pid = os.fork()
if pid == 0:
    import faulthandler
    faulthandler.dump_traceback_later(10, exit=True)
    logging.getLogger("child").addHandler(logging.NullHandler())
    logging.getLogger("child").error("said")
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
sys.go_on.set()
importing.join()
"""
    assert run(OURS, code, OTEL_LOG_LEVEL="none") == "0\n"  # as above


def test_the_moment_of_the_first_push_is_a_sign() -> None:
    """A process that only computes has its own metrics pushed all the same, when the first interval is over."""
    code = """
import time
deadline = time.monotonic() + 30
while not awake() and time.monotonic() < deadline: time.sleep(.01)
"""
    environ = {"OTEL_METRICS_EXPORTER": "console", "OTEL_METRIC_EXPORT_INTERVAL": "50"}
    assert "process." in run(OURS, code + "time.sleep(1); print(awake())", **environ)


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
    quiet = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}
    done = programs.run(code, STOCK, check=True, **{**quiet, **environ})
    assert done.stdout == f"{spared}\n"


CONVENTIONS = """
import os
before = "OTEL_SEMCONV_STABILITY_OPT_IN" in os.environ
from opentelemetry.instrumentation._semconv import (
    _OpenTelemetrySemanticConventionStability as Stability, _OpenTelemetryStabilitySignalType as Signal)
Stability._initialize()
modes = [Stability._get_opentelemetry_stability_opt_in_mode(kind) for kind in (Signal.HTTP, Signal.DATABASE)]
print(before, *(mode.value for mode in modes))
"""


@pytest.mark.parametrize(
    ("launcher", "early"),
    # an injected launcher has imported contrib's reader of the variable
    [(OURS, False), (INJECTED, True), (STOCK, False)],
    ids=["ours", "injected", "stock"],
)
def test_contribs_instrumentations_follow_the_stable_conventions(launcher: tuple[str, ...], early: bool) -> None:
    """The variable is there once one of them reads it, and not before; what the user set stays."""
    assert run(launcher, CONVENTIONS) == f"{early} http database\n"
    assert run(launcher, CONVENTIONS, OTEL_SEMCONV_STABILITY_OPT_IN="http/dup") == "True http/dup default\n"
