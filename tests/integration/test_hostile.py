"""What once stopped a program, hung it or lost its telemetry: each case as it was found, now harmless."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import programs
from tests.programs import BIN, OURS, STOCK, environment
from tests.servers import OtlpSink
from tests.servers.base import free_port

QUIET = {"OTEL_METRICS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "none"}

THIRD_PARTY = """
import sys, time
from opentelemetry.propagators.textmap import TextMapPropagator
class Exits:
    def __init__(self, *args): sys.exit(9)
class Hangs:
    def detect(self): time.sleep(60)
class Broken(TextMapPropagator):
    fields = frozenset()
    def inject(self, *args, **kwargs): raise RuntimeError("inject broke")
    def extract(self, *args, **kwargs): raise RuntimeError("extract broke")
class Nothing: pass
class NoLoad:
    def __init__(self): raise RuntimeError("cannot be made")
def hook(): raise RuntimeError("hook broke")
"""
ENTRY_POINTS = """
[opentelemetry_traces_exporter]
exits = hostile:Exits
nothing = hostile:Nothing
[opentelemetry_metrics_exporter]
exits = hostile:Exits
nothing = hostile:Nothing
[opentelemetry_traces_sampler]
exits = hostile:Exits
[opentelemetry_resource_detector]
exits = hostile:Exits
hangs = hostile:Hangs
[opentelemetry_propagator]
exits = hostile:Exits
broken = hostile:Broken
noload = hostile:NoLoad
"""


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """An installed package whose every part misbehaves."""
    (tmp_path / "hostile.py").write_text(THIRD_PARTY)
    info = tmp_path / "hostile-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return tmp_path


def run(code: str, launcher: Sequence[str] = OURS, **environ: str) -> subprocess.CompletedProcess[str]:
    """A program that sends nothing unless it is told to."""
    return programs.run(code, launcher, **{**QUIET, **environ})


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_closed_streams_stop_nothing(closed: str, tmp_path: Path) -> None:
    """With stdout or stderr closed the launcher and the program work, also when there is something to say."""
    witness = tmp_path / "ran"
    program = f"open({str(witness)!r}, 'w').close(); import sys; sys.exit(7)"
    environ = {**os.environ, **QUIET, "OTEL_BSP_SCHEDULE_DELAY": "often", "CODE": program}
    line = f'exec {sys.executable} -m otel_distro run {sys.executable} -c "$CODE" {closed}'
    done = subprocess.run(["sh", "-c", line], env=environ, timeout=60, check=False)
    assert done.returncode == 7
    assert witness.exists()


def test_where_nothing_can_be_written_there_are_spans_and_numbers_all_the_same() -> None:
    """Without a byte of room in a file (full disk, read-only root without /tmp) spans arrive, a scrape is answered."""
    port = free_port()
    code = (
        "import urllib.request; from opentelemetry import metrics, trace;"
        "trace.get_tracer('x').start_span('written nowhere').end();"
        "metrics.get_meter('x').create_counter('pages').add(1);"
        f"print(urllib.request.urlopen('http://127.0.0.1:{port}/metrics').read().decode())"
    )
    line = f'ulimit -f 0; exec {" ".join(OURS)} {sys.executable} -c "$CODE"'
    with OtlpSink() as sink:
        environ = {
            "CODE": code,
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
            "OTEL_METRICS_EXPORTER": "prometheus",
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
        }
        done = subprocess.run(
            ["sh", "-c", line], env=environment(environ), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert [span.name for span in sink.spans] == ["written nowhere"]
    assert "pages_total" in done.stdout
    assert "File too large (each process shows its own numbers only" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "exits"),
        ("OTEL_TRACES_EXPORTER", "nothing"),
        ("OTEL_METRICS_EXPORTER", "exits"),
        ("OTEL_METRICS_EXPORTER", "nothing"),
        ("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "exits"),
        ("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "hangs"),
        ("OTEL_PROPAGATORS", "tracecontext,exits"),
        ("OTEL_PROPAGATORS", "tracecontext,noload"),
    ],
)
def test_a_third_partys_part_that_misbehaves_costs_one_line(hostile: Path, name: str, value: str) -> None:
    """A part that exits, hangs, cannot be made or is something else is said once; the program and the rest go on."""
    code = "from opentelemetry import propagate, trace; print(type(trace.get_tracer_provider()).__name__)"
    environ = {"PYTHONPATH": str(hostile), "OTEL_TRACES_EXPORTER": "console", name: value}
    done = run(code, **environ)
    assert (done.returncode, done.stdout) == (0, "LeanTracerProvider\n"), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_sampler_that_exits_is_replaced(hostile: Path) -> None:
    """A third party's sampler that cannot be made leaves the default in its place."""
    code = "from opentelemetry import trace; print(trace.get_tracer('x').start_span('a').is_recording())"
    environ = {"OTEL_TRACES_EXPORTER": "console", "OTEL_TRACES_SAMPLER": "exits", "PYTHONPATH": str(hostile)}
    done = run(code, **environ)
    assert (done.returncode, done.stdout) == (0, "True\n")


def test_a_propagator_that_raises_reaches_no_request(hostile: Path) -> None:
    """`propagate.inject` in application code works though a third party's propagator raises, and W3C goes out."""
    code = (
        "from opentelemetry import propagate, trace; h = {}\n"
        "with trace.get_tracer('x').start_as_current_span('a'): propagate.inject(h); propagate.extract(h)\n"
        "print(sorted(h))"
    )
    environ = {"PYTHONPATH": str(hostile), "OTEL_PROPAGATORS": "broken,tracecontext"}
    done = run(code, OTEL_TRACES_EXPORTER="console", **environ)
    assert (done.returncode, done.stdout) == (0, "['traceparent']\n")


@pytest.mark.parametrize("text", ["tracecontext,", ",", "tracecontext,,baggage", " "])
def test_empty_entries_among_propagators_are_nothing(text: str) -> None:
    """A trailing comma made upstream raise at import, in the application as well."""
    done = run("from opentelemetry import propagate; print('ok')", OTEL_PROPAGATORS=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


@pytest.mark.parametrize("text", ["", " "])
def test_empty_values_are_unset_for_upstreams_code_too(text: str) -> None:
    """An empty OTEL_PYTHON_CONTEXT made the API print a traceback, an empty limit the SDK raise."""
    names = ("OTEL_PYTHON_CONTEXT", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_PROPAGATORS")
    done = run("import opentelemetry.sdk.trace; print('ok')", **dict.fromkeys(names, text))
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


@pytest.mark.parametrize("name", ["OTEL_RESOURCE_ATTRIBUTES", "OTEL_EXPORTER_OTLP_HEADERS"])
def test_bytes_that_are_not_utf8_beside_a_bad_entry(name: str) -> None:
    """A byte that is not UTF-8 and an entry that is no pair leave one line, not a start that failed."""
    done = run("print('ok')", **{name: os.fsdecode(b"a=\xff,bad")})
    assert (done.returncode, done.stdout) == (0, "ok\n")
    assert done.stderr.count(name) == 1
    assert "Traceback" not in done.stderr


def test_a_service_name_with_a_nul_is_telemetry_all_the_same() -> None:
    """%00 in a resource attribute cannot be left to children, and must not cost the pipeline."""
    code = "from opentelemetry import trace; print(type(trace.get_tracer_provider()).__name__)"
    environ = {"OTEL_RESOURCE_ATTRIBUTES": "service.name=a%00b"}
    done = run(code, OTEL_TRACES_EXPORTER="console", **environ)
    assert (done.stdout, done.stderr) == ("LeanTracerProvider\n", "")


def test_modules_in_the_working_directory_shadow_nothing(tmp_path: Path) -> None:
    """The launcher adds no working directory to the path: a random.py there is not Python's own."""
    (tmp_path / "random.py").write_text("raise RuntimeError('shadowed')\n")
    program = tmp_path / "app" / "main.py"
    program.parent.mkdir()
    program.write_text("import random, tempfile; print('ran')\n")
    command = [sys.executable, "-m", "otel_distro", "run", sys.executable, str(program)]
    environ = {**os.environ, **QUIET, "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")


def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    """A program starts in a directory that has been deleted, as it does without us."""
    gone = tmp_path / "gone"
    gone.mkdir()
    line = f"cd {gone} && rmdir {gone} && exec {BIN / 'otel-distro'} run {sys.executable} -c 'print(1)'"
    done = subprocess.run(["sh", "-c", line], env={**os.environ, **QUIET}, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, b"1\n")


def test_another_packages_broken_hook_does_not_disable_children(tmp_path: Path) -> None:
    """A pre_instrument hook that raises before ours costs neither this process nor its children an instrumentation."""
    (tmp_path / "hooks.py").write_text("def hook(): raise RuntimeError('hook broke')\n")
    info = tmp_path / "aaa-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: aaa\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[opentelemetry_pre_instrument]\naaa = hooks:hook\n")
    child = (
        "from otel_distro.distro import OtelDistro\n"
        "print([d.by for d in OtelDistro().session().decisions() if d.library == 'redis'], flush=True)"
    )
    code = f"{child}\nimport subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    done = run(code, STOCK, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "['otel-distro']\n" * 2)


def test_nested_launchers_set_up_once() -> None:
    """`opentelemetry-instrument otel-distro run python ...` sets telemetry up once, without complaint."""
    code = "import logging; from opentelemetry import trace; print(type(trace.get_tracer_provider()).__name__)"
    done = run(code, (*STOCK, *OURS), OTEL_TRACES_EXPORTER="console")
    assert (done.returncode, done.stdout, done.stderr) == (0, "LeanTracerProvider\n", "")


@pytest.mark.parametrize(
    "endpoint",
    [
        "collector:4318?token=CANARY",
        "https://user:CANARY/part@host:99999",
        "http://user:CANARY",
        f"ftp://user:{'x' * 90}CANARY@host",
        "user:CANARY@host:4317",
    ],
)
def test_no_secret_of_an_endpoint_is_said(endpoint: str) -> None:
    """Whatever is wrong with an endpoint, its password, token or query does not reach stderr."""
    done = run("print('ok')", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    assert done.stdout == "ok\n"
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in done.stderr
    assert "CANARY" not in done.stderr


def test_forked_children_of_multiprocessing_deliver_their_spans() -> None:
    """A forked child ends in os._exit, without atexit; its spans leave all the same."""
    code = (
        "import multiprocessing as m\n"
        "def work(n):\n"
        "    from opentelemetry import trace\n"
        "    trace.get_tracer('x').start_span(f'child {n}').end()\n"
        "c = m.get_context('fork')\n"
        "ps = [c.Process(target=work, args=(n,)) for n in range(3)]\n"
        "[p.start() for p in ps]; [p.join() for p in ps]\n"
    )
    with OtlpSink() as sink:
        done = run(code, OTEL_TRACES_EXPORTER="otlp", OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)
        assert done.returncode == 0
        assert sorted(span.name for span in sink.spans) == ["child 0", "child 1", "child 2"]


def test_processes_of_celerys_pool_deliver_their_spans() -> None:
    """One that is replaced ends in os._exit and without finalizers; what it says at its end has a span, too."""
    code = (
        "from billiard.pool import Pool\n"
        "def work(n):\n"
        "    from opentelemetry import trace\n"
        "    trace.get_tracer('x').start_span(f'task {n}').end()\n"
        "def last(pid, code):\n"
        "    work('last')\n"
        "if __name__ == '__main__':\n"
        "    pool = Pool(1, maxtasksperchild=2, on_process_exit=last)\n"
        "    pool.map(work, range(2)); pool.close(); pool.join()\n"
    )
    with OtlpSink() as sink:
        done = run(code, OTEL_TRACES_EXPORTER="otlp", OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)
        assert done.returncode == 0, done.stderr
        assert {"task 0", "task 1", "task last"} <= {span.name for span in sink.spans}


BUSY_EXECUTOR = """
import asyncio, sys, threading, time, uvicorn
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown": return
async def main():
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    loop = asyncio.get_running_loop()
    release = threading.Event()
    jobs = [loop.run_in_executor(None, release.wait, 20) for _ in range(64)]
    loop.call_later(0.5, lambda: setattr(server, "should_exit", True))
    began = time.monotonic()
    await server.serve()
    print("in time" if time.monotonic() - began < 10 else "late")
    release.set()
asyncio.run(main())
"""


def test_uvicorns_shutdown_does_not_wait_for_the_applications_executor() -> None:
    """The flush at a server's end has a thread of its own: jobs of the application cannot hold the server up."""
    done = run(BUSY_EXECUTOR, OTEL_TRACES_EXPORTER="console")
    assert (done.returncode, done.stdout) == (0, "in time\n"), done.stderr


def test_resources_of_a_module_can_be_read_before_its_import() -> None:
    """A module that waits for its import looks to `pkgutil` and `find_spec` as it does without us."""
    code = (
        "import pkgutil; from importlib.util import find_spec\n"
        "data = pkgutil.get_data('sqlalchemy', '__init__.py')\n"
        "print(data is not None, find_spec('redis').loader.is_package('redis'))"
    )
    assert run(code).stdout == "True True\n"


@pytest.mark.parametrize("logs", ["none", "otlp"])
def test_a_log_call_whose_arguments_do_not_fit_raises_nothing(logs: str) -> None:
    """Upstream's handler lets the TypeError of `logging.info("%d", "x")` out into the application."""
    code = "import logging; logging.basicConfig(level=20); logging.info('%d', 'x'); print('went on')"
    done = run(code, OTEL_LOGS_EXPORTER=logs, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (0, "went on\n")
