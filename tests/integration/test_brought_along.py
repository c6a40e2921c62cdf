"""Instrumentors that others bring along: when they are loaded; and set-ups that an application asks for again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import programs
from tests.programs import OURS, ROOT, STOCK
from tests.servers import OtlpSink

LAUNCHERS = pytest.mark.parametrize("launcher", [OURS, STOCK], ids=["ours", "stock"])
INSTRUMENTOR = """
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
class Instrumentor(BaseInstrumentor):
    def instrumentation_dependencies(self): return ()
    def _instrument(self, **kwargs):
        import LIBRARY
        LIBRARY.seen.append("instrumented")
    def _uninstrument(self, **kwargs): pass
"""


def installed(site: Path, library: str, text: str) -> str:
    """A library with an instrumentor for it, as installed; what PYTHONPATH has to say."""
    (site / library).mkdir()
    (site / library / "__init__.py").write_text("seen = []\n" + text)
    (site / library / "instrumentation.py").write_text(INSTRUMENTOR.replace("LIBRARY", library))
    info = site / f"{library}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[opentelemetry_instrumentor]\n{library} = {library}.instrumentation:Instrumentor\n"
    )
    return f"{site}{os.pathsep}{ROOT}"


def run(code: str, launcher: tuple[str, ...], **environ: str) -> str:
    """What the program writes to standard output, when nothing is said on the other."""
    quiet = {"OTEL_METRICS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "none"}
    done = programs.run(code, launcher, **{**quiet, **environ})
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@LAUNCHERS
def test_django_is_instrumented_when_its_settings_are_there(tmp_path: Path, launcher: tuple[str, ...]) -> None:
    """Contrib's instrumentor replaces settings that have not been named yet, so it waits for the end of `setup()`."""
    site = installed(tmp_path, "django", "def setup(set_prefix=True):\n    seen.append(f'set up {set_prefix}')\n")
    code = (
        "import django; from django import setup; setup(set_prefix=False); django.setup(); setup(); print(django.seen)"
    )
    assert run(code, launcher, PYTHONPATH=site) == ("['set up False', 'instrumented', 'set up True', 'set up True']\n")


@LAUNCHERS
def test_a_django_that_cannot_be_set_up_says_so_itself(tmp_path: Path, launcher: tuple[str, ...]) -> None:
    """What `setup()` raises reaches the application, and nothing is instrumented until it works."""
    site = installed(tmp_path, "django", "def setup():\n    seen.append('tried')\n    1 / len(seen[1:])\n")
    code = (
        "import django\ntry: django.setup()\nexcept ZeroDivisionError: print(django.seen)\n"
        "django.setup(); print(django.seen)"
    )
    assert run(code, launcher, PYTHONPATH=site) == "['tried']\n['tried', 'tried', 'instrumented']\n"


def test_an_instrumentor_of_taskiqs_costs_nothing_where_taskiq_is_not_used(tmp_path: Path) -> None:
    """A library that brings its own instrumentor is imported by the application or not at all."""
    site = installed(tmp_path, "taskiq", "")
    code = "import sys; print('taskiq' in sys.modules); import taskiq; print(taskiq.seen)"
    assert run(code, OURS, PYTHONPATH=site) == "False\n['instrumented']\n"


@LAUNCHERS
@pytest.mark.parametrize("forked", [False, True], ids=["here", "in a worker"])
def test_a_second_set_up_changes_nothing(launcher: tuple[str, ...], forked: bool) -> None:
    """An application that calls upstream's `initialize()`, as `post_fork` hooks do, keeps the pipeline that it has."""
    code = f"""
import logging, os
from opentelemetry import trace
logging.getLogger("before").warning("before")
if {forked} and (pid := os.fork()):
    os.waitpid(pid, 0)
else:
    from opentelemetry.instrumentation.auto_instrumentation import initialize
    initialize()
    with trace.get_tracer("app").start_as_current_span("work"):
        logging.getLogger("after").warning("after")
"""
    with OtlpSink() as sink:
        done = programs.run(
            code,
            launcher,
            OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
            OTEL_METRICS_EXPORTER="otlp",
            OTEL_LOGS_EXPORTER="otlp",
        )
        sink.wait_for_spans(1)
        assert (done.returncode, done.stderr) == (0, "before\nafter\n")
        assert [span.name for span in sink.spans] == ["work"]
        assert sorted(entry.body for entry in sink.logs) == ["after", "before"]
