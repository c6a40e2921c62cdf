"""`./scripts/demo` before there is an environment: what is missing is one line, and nothing keeps running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / "scripts" / "demo")


def environment(home: Path, **more: str) -> dict[str, str]:
    """This environment with a home of its own for the demo, and pip kept away from everything."""
    offline = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    return os.environ | {"PYTHON": sys.executable, "DEMO_HOME": str(home)} | offline | more


def run(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *arguments],
        env=environment(home, **more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def silent_index() -> Iterator[str]:
    """A package index that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def test_help_needs_no_environment(tmp_path: Path) -> None:
    """The options are told, and a wrong one is refused, before anything is installed."""
    home = tmp_path / "home"
    told, refused = run(home, "--help"), run(home, "--rounds", "none")
    assert told.returncode == 0
    assert "--stack" in told.stdout
    assert refused.returncode == 2
    assert "--rounds" in refused.stderr
    assert not home.exists()


def test_an_old_python_is_one_line(tmp_path: Path) -> None:
    """Without a Python that is new enough, the script says which is needed and how to name one."""
    done = run(tmp_path, PYTHON="/bin/false")
    assert done.returncode == 1
    assert done.stderr == "demo: Python 3.11 or newer is needed, and /bin/false is not; PYTHON=... names another\n"


def test_a_download_that_fails_is_one_line(tmp_path: Path) -> None:
    """Without a network, pip's reason and its log are named, and the next run starts over."""
    done = run(tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("demo: installing otel-distro and the shop failed: ")
    assert str(tmp_path / "install.log") in done.stderr
    assert not list(tmp_path.glob("venv-*/installed"))


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A read-only checkout is told how to put the environment elsewhere."""
    (tmp_path / "file").write_text("")
    done = run(tmp_path / "file" / "home")
    assert done.returncode == 1
    assert (
        done.stderr
        == f"demo: cannot write to {tmp_path}/file/home: Not a directory; DEMO_HOME names another directory\n"
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_download_ends_with_the_demo(
    tmp_path: Path, silent_index: str, number: signal.Signals, code: int
) -> None:
    """Ctrl-C or SIGTERM while installing ends pip too, and what was begun does not count as installed."""
    process = subprocess.Popen(
        [SCRIPT],
        env=environment(tmp_path, PIP_INDEX_URL=silent_index),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 150
    while not _pips(tmp_path) and time.monotonic() < end:
        time.sleep(0.05)
    assert _pips(tmp_path)
    process.send_signal(number)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == code
    assert len(errors.strip().splitlines()) <= 1
    assert "Traceback" not in errors
    while _pips(tmp_path) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _pips(tmp_path)
    assert not list(tmp_path.glob("venv-*/installed"))


def _pips(home: Path) -> list[int]:
    """Ids of the running processes that install into this home."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = command.read_bytes().decode().split("\0")
        except OSError:
            continue
        if "install" in words and any(word.startswith(str(home)) for word in words):
            found.append(int(command.parent.name))
    return found
