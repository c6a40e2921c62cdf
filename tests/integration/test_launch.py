"""`otel-distro run`: sets up the environment of any program and ends in it, importing nothing of OpenTelemetry."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import typing_extensions

from tests import programs
from tests.programs import OURS, STOCK
from tests.servers.sink import OtlpSink


def launch(*arguments: str, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    quiet = {"OTEL_METRICS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "none", **environ}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    command = [sys.executable, "-m", "otel_distro", *arguments]
    return subprocess.run(
        command, env={**kept, **quiet}, capture_output=True, text=True, timeout=60, check=False, cwd=cwd
    )


def test_the_program_keeps_its_exit_code_and_arguments() -> None:
    """The program's own exit code comes back, its arguments arrive untouched."""
    done = launch("run", sys.executable, "-c", "import sys; print(sys.argv[1:]); sys.exit(7)", "--reload", "-x")
    assert (done.returncode, done.stdout, done.stderr) == (7, "['--reload', '-x']\n", "")


def test_options_become_variables() -> None:
    """--service-name shop is OTEL_SERVICE_NAME=shop, as with the stock launcher."""
    code = "import os; print(os.environ['OTEL_SERVICE_NAME'], os.environ['SENTRY_DSN'], os.environ['OTEL_LOG_LEVEL'])"
    options = ["--service-name", "shop", "--sentry-dsn=https://k@h/1", "--otel-log-level", "error"]
    done = launch("run", *options, sys.executable, "-c", code)
    assert done.stdout == "shop https://k@h/1 error\n"


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ((), 2, "no command given"),
        (("walk",), 2, "no such command: walk"),
        (("run",), 2, "no program given"),
        (("run", "-x", "python"), 2, "no such option: -x"),
        (("run", "--service-name"), 2, "--service-name needs a value"),
        (("run", "no-such-program-here"), 127, "no such program: no-such-program-here"),
        (("run", "./no/such/path"), 127, "no such program: ./no/such/path"),
    ],
)
def test_misuse_is_one_clear_line(arguments: tuple[str, ...], code: int, reason: str) -> None:
    """A wrong call says what is wrong in its first line, with the exit code a shell would give."""
    done = launch(*arguments)
    assert done.returncode == code
    assert done.stderr.splitlines()[0] == f"otel-distro: error: {reason}"


def test_a_file_that_cannot_be_executed_is_named(tmp_path: Path) -> None:
    """A program without the execute bit ends with 126 and one line."""
    program = tmp_path / "app"
    program.write_text("#!/bin/sh\n")
    program.chmod(stat.S_IRUSR)
    done = launch("run", str(program))
    assert done.returncode == 126
    assert len(done.stderr.splitlines()) == 1


def test_a_program_that_is_not_python_runs_too() -> None:
    """Any program can be started; its Python children are instrumented."""
    done = launch("run", "sh", "-c", f"{sys.executable} -c \"import sys; print('otel_distro' in sys.modules)\"")
    assert done.stdout == "True\n"


def test_the_launcher_imports_no_opentelemetry() -> None:
    """The launcher's own process stays cheap: nothing of OpenTelemetry, no settings."""
    names = "[name for name in sys.modules if name.startswith(('opentelemetry', 'otel_distro.'))]"
    code = f"import sys; sys.path[:0] = {sys.path!r}; import otel_distro.launch; print({names})"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['otel_distro._version', 'otel_distro.launch']\n"


@pytest.mark.parametrize("option", ["-I", "-S", "-E", "-sE"])
def test_an_isolated_python_is_named(option: str) -> None:
    """Python options that ignore PYTHONPATH switch telemetry off, which is said."""
    done = launch("run", sys.executable, option, "-c", "print(1)")
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert f"python {option} ignores PYTHONPATH" in done.stderr


def test_a_sitecustomize_of_the_user_still_runs(tmp_path: Path) -> None:
    """Our sitecustomize comes first on the path, and then gives way to the user's."""
    (tmp_path / "sitecustomize.py").write_text("import builtins; builtins.mine = 'ran'\n")
    done = launch("run", sys.executable, "-c", "print(mine)", PYTHONPATH=str(tmp_path))
    assert (done.stdout, done.stderr) == ("ran\n", "")


def test_an_interpreter_without_the_distro_runs_the_program(tmp_path: Path) -> None:
    """On an interpreter where otel-distro is not installed the program runs, with one line."""
    environment = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    done = launch("run", str(environment / "bin" / "python"), "-c", "print(1)", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert "not installed for" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_bad_propagator_does_not_stop_the_program() -> None:
    """OTEL_PROPAGATORS=bogus kills the stock launcher (verified 1); here it is one line."""
    done = launch("run", sys.executable, "-c", "print(1)", OTEL_PROPAGATORS="bogus")
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert done.stderr.count("OTEL_PROPAGATORS") == 1


def test_disabled_means_that_no_sdk_is_imported() -> None:
    """OTEL_SDK_DISABLED=true imports nothing of OpenTelemetry at all."""
    code = "import sys; print([m for m in sys.modules if m.startswith('opentelemetry')])"
    done = launch("run", sys.executable, "-c", code, OTEL_SDK_DISABLED="true")
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_disabled_propagates_all_the_same_where_the_application_does() -> None:
    """The setting has no effect on propagators (specification, SDK environment variables); a bad name harms nobody."""
    code = (
        "from opentelemetry import propagate, trace; import otel_distro\n"
        "c = propagate.extract({'traceparent': '00-' + '1' * 32 + '-' + '2' * 16 + '-01'}); h = {}\n"
        "propagate.inject(h, c); print(h['traceparent'][3:7], otel_distro.status().reason)"
    )
    for name in ("tracecontext", "bogus,tracecontext"):
        done = launch("run", sys.executable, "-c", code, OTEL_SDK_DISABLED="true", OTEL_PROPAGATORS=name)
        assert (done.returncode, done.stdout) == (0, "1111 OTEL_SDK_DISABLED=true\n"), done.stderr


def test_children_of_the_program_are_instrumented_and_repeat_no_warning() -> None:
    """A Python child gets telemetry, and a wrong setting is named once a launch."""
    child = "import sys; print('otel_distro.start' in sys.modules)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    done = launch("run", sys.executable, "-c", code, OTEL_BSP_SCHEDULE_DELAY="often")
    assert done.stdout == "True\n"
    assert done.stderr.count("OTEL_BSP_SCHEDULE_DELAY") == 1


def test_packages_beside_the_program_are_found_first(tmp_path: Path) -> None:
    """A set-up at the start imports no other version of what `pip install --target .` has put beside the program."""
    (tmp_path / "typing_extensions.py").write_text(Path(typing_extensions.__file__).read_text())
    (tmp_path / "main.py").write_text(
        "import sys, typing_extensions as t; print(t.__file__, sys.path.count(sys.path[0]))"
    )
    code = "import sys; print('typing_extensions' in sys.modules)"
    at_once = {"OTEL_DISTRO_HEALTH": "on", "OTEL_TRACES_EXPORTER": "console"}
    assert launch("run", sys.executable, "-c", code, **at_once).stdout == "True\n", "nothing is shown by what follows"
    done = launch("run", sys.executable, str(tmp_path / "main.py"), **at_once)
    assert (done.stdout, done.stderr) == (f"{tmp_path / 'typing_extensions.py'} 1\n", "")


def test_what_a_short_program_measures_is_pushed_at_its_end() -> None:
    """Nothing is missing and nothing is said, also where the ending interpreter starts no thread (CPython 3.12)."""
    code = "from opentelemetry import metrics; metrics.get_meter('m').create_counter('jobs').add(3)"
    with OtlpSink() as sink:
        done = launch(
            *("run", sys.executable, "-c", code), OTEL_METRICS_EXPORTER="otlp", OTEL_EXPORTER_OTLP_ENDPOINT=sink.url
        )
        found = [point.value for point in sink.points if point.name == "jobs"]
    assert (done.returncode, done.stderr) == (0, "")
    assert found == [3]


INTERPRETERS = """
import sys
if sys.version_info < (3, 13):
    import _xxsubinterpreters as interpreters
    run = interpreters.run_string
else:
    import _interpreters as interpreters
    run = interpreters.exec
made = interpreters.create()
run(made, '''
import logging
from opentelemetry import trace
logging.basicConfig()
for number in range(3000):
    with trace.get_tracer("t").start_as_current_span("within"):
        logging.info("within")
''')
interpreters.destroy(made)
from opentelemetry import trace
with trace.get_tracer("t").start_as_current_span("outside"):
    pass
"""


# CPython does not tell before
if sys.version_info >= (3, 12):

    @pytest.mark.parametrize("launcher", [OURS, STOCK])
    def test_a_subinterpreter_gets_nothing_and_nothing_is_said(launcher: Sequence[str]) -> None:
        """An interpreter that may start no daemon threads runs without telemetry; the main one has its own."""
        with OtlpSink() as sink:
            result = programs.run(
                INTERPRETERS, launcher, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_METRICS_EXPORTER="none"
            )
            assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)
            assert [span.name for span in sink.spans] == ["outside"]
