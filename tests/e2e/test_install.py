"""A newcomer's first minute: install into an empty environment, start something, without any variable set."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(900)  # it downloads, and may have to share the line and the machine
SPAN = "from opentelemetry import trace; trace.get_tracer('x').start_span('a').end(); print('done')"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds nothing but `pip install .`."""
    home = tmp_path_factory.mktemp("install") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    # with the pip that is here: to install another, and to compile what nobody imports, takes longer than all else
    pip = (sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install", "--quiet", "--no-compile")
    subprocess.run([*pip, str(ROOT)], check=True)
    return home / "bin"


def run(programs: Path, *command: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON", "SENTRY_"))}
    environ = {**kept, "PATH": f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin"}
    return subprocess.run(command, env=environ, cwd=programs, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("launcher", [("opentelemetry-instrument",), ("otel-distro", "run")], ids=["stock", "ours"])
def test_without_any_variable_and_without_a_collector(empty: Path, launcher: Sequence[str]) -> None:
    """The program runs and ends with its own status; the missing collector is one clear line, no stack trace."""
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", 4318)) != 0, "this test needs port 4318 to be free"
    done = run(empty, *launcher, "python", "-c", SPAN)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("otel-distro: warning: ")
    assert "localhost:4318" in lines[0]


def test_the_install_brings_what_the_mission_names(empty: Path) -> None:
    """One install brings both launchers, the instrumentations and both exporters."""
    names = ["opentelemetry-instrument", "otel-distro"]
    assert all((empty / name).exists() for name in names)
    libraries = ["fastapi", "sqlalchemy", "redis", "httpx", "requests", "urllib3", "aiohttp-client"]
    wanted = [f"opentelemetry-instrumentation-{library}" for library in libraries]
    wanted += ["opentelemetry-exporter-otlp-proto-http", "opentelemetry-exporter-prometheus"]
    code = f"from importlib.metadata import version; print(*[version(name) for name in {wanted!r}])"
    done = run(empty, "python", "-c", code)
    assert done.returncode == 0, done.stderr
