"""The distro under `opentelemetry-instrument`: chosen, not chosen, and with parts that fail."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import programs

RIVAL = """
class Rival:
    def configure(self, **kwargs):
        print("rival configured")
from opentelemetry.instrumentation.distro import BaseDistro
class RivalDistro(BaseDistro):
    def _configure(self, **kwargs):
        print("rival distro")
class Raising:
    def instrument(self, **kwargs):
        raise RuntimeError("instrumentor broke")
class Good:
    def instrument(self, **kwargs):
        print("good instrumented")
"""


def run(code: str, site: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    """A program under the stock launcher, with what is installed in `site`."""
    quiet = {"OTEL_METRICS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "none"}
    if site is not None:
        environ["PYTHONPATH"] = str(site)
    return programs.run(code, programs.STOCK, **{**quiet, **environ})


@pytest.fixture
def rival(tmp_path: Path) -> Path:
    """Another vendor's distro, as installed metadata and code."""
    (tmp_path / "rival.py").write_text(RIVAL)
    info = tmp_path / "rival-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[opentelemetry_distro]\nrival = rival:RivalDistro\n"
        "[opentelemetry_configurator]\nrival = rival:Rival\n"
        "[opentelemetry_instrumentor]\na_raising = rival:Raising\nb_good = rival:Good\n"
    )
    return tmp_path


def test_ours_is_chosen_beside_another_vendors(rival: Path) -> None:
    """OTEL_PYTHON_DISTRO=otel_distro chooses ours, and the configurator with it."""
    done = run("print('app')", rival)
    assert "rival distro" not in done.stdout
    assert "rival configured" not in done.stdout
    assert done.stdout.endswith("app\n")


def test_another_vendors_choice_is_said_in_one_line(rival: Path) -> None:
    """When another distro was chosen, one line says that ours is not in charge and how to choose it."""
    done = run("print('app')", rival, OTEL_PYTHON_DISTRO="rival", OTEL_PYTHON_CONFIGURATOR="rival")
    assert "rival distro" in done.stdout
    lines = [line for line in done.stderr.splitlines() if "not in charge" in line]
    assert len(lines) == 1
    assert "chooses another distro" in lines[0]


def test_a_mistyped_distro_is_said_in_one_line() -> None:
    """A mistyped OTEL_PYTHON_DISTRO silently gives the default distro upstream (verified 1); one line says so."""
    done = run("print('app')", OTEL_PYTHON_DISTRO="otel_distroo")
    assert done.stdout == "app\n"
    assert "'otel_distroo' names no installed distro" in done.stderr


def test_an_instrumentor_that_raises_stops_no_other(rival: Path) -> None:
    """Contrib's loop stops at the first instrumentor that raises; ours goes on and says it once."""
    done = run("print('app')", rival)
    assert "good instrumented" in done.stdout
    assert done.stderr.count("instrumentor broke") == 1
    assert "Traceback" not in done.stderr


def test_the_users_list_of_disabled_instrumentations_counts_and_is_put_back(rival: Path) -> None:
    """The distro borrows OTEL_PYTHON_DISABLED_INSTRUMENTATIONS for a moment, the application sees its own value."""
    code = "import os; print(os.environ['OTEL_PYTHON_DISABLED_INSTRUMENTATIONS'])"
    done = run(code, rival, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="a_raising, b_good")
    assert done.stdout == "a_raising, b_good\n"
    assert "instrumentor broke" not in done.stderr


@pytest.mark.parametrize("name", ["OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER"])
def test_an_unknown_exporter_is_one_line_and_the_program_runs(name: str) -> None:
    """An exporter that is not installed switches off itself alone (contrib #3471)."""
    done = run("print('app')", **{name: "nosuch"})
    assert done.stdout == "app\n"
    assert done.stderr.count("nosuch") == 2
    assert len([line for line in done.stderr.splitlines() if "exporter nosuch" in line]) == 1
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_one_line_and_tracing_works() -> None:
    """A port that is taken costs the /metrics endpoint of this process, nothing else."""
    code = (
        "from opentelemetry import metrics, trace; metrics.get_meter('x').create_counter('n').add(1)\n"
        "print(trace.get_tracer('x').start_span('a').is_recording())"
    )
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run(
            code,
            OTEL_METRICS_EXPORTER="prometheus",
            OTEL_EXPORTER_PROMETHEUS_PORT=port,
            OTEL_TRACES_EXPORTER="console",
        )
    assert done.stdout.startswith("True\n")
    assert done.stderr.count(f"127.0.0.1:{port}") == 1


def test_disabled_imports_neither_the_sdk_nor_an_instrumentation() -> None:
    """OTEL_SDK_DISABLED=true under the stock launcher: its own imports are all there is."""
    code = (
        "import os, sys; print([m for m in sys.modules if m.startswith(('opentelemetry.sdk', 'otel_distro.settings'))],"
        " 'httpx' in sys.modules, os.environ['OTEL_PYTHON_DISABLED_INSTRUMENTATIONS'])"
    )
    done = run(code, OTEL_SDK_DISABLED="true", OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="redis")
    assert (done.stdout, done.stderr) == ("[] False redis\n", "")


def test_httpx2_may_take_the_name_of_httpx() -> None:
    """Instrumenting httpx2 imports no httpx, which would stop `httpx2.alias_httpx`; it is wrapped once."""
    code = (
        "import httpx2; httpx2.alias_httpx(); import httpx\n"
        "send = httpx.HTTPTransport.handle_request\n"
        "print(httpx is httpx2, hasattr(send, '__wrapped__'), hasattr(send.__wrapped__, '__wrapped__'))"
    )
    done = run(code)
    assert (done.stdout, done.stderr) == ("True True False\n", "")
