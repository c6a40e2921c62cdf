"""Roles: what a process is for can be told from its command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from otel_distro.process import Deadline, Role, classify, program


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ("python app.py", Role.APPLICATION),
        ("python -m pytest --workers 4", Role.APPLICATION),
        ("python /venv/bin/uvicorn app:app", Role.APPLICATION),
        ("python /venv/bin/uvicorn app:app --workers 1", Role.APPLICATION),
        ("python /venv/bin/uvicorn app:app --workers 4", Role.SUPERVISOR),
        ("python /venv/bin/uvicorn app:app --workers=4", Role.SUPERVISOR),
        ("python -X dev -m uvicorn app:app --reload", Role.SUPERVISOR),
        ("python -m fastapi dev app.py", Role.SUPERVISOR),
        ("python -m fastapi dev app.py --no-reload", Role.APPLICATION),
        ("python -m fastapi run app.py --workers 2", Role.SUPERVISOR),
        ("python /venv/bin/gunicorn -w 4 app:app", Role.SUPERVISOR),
        ("python", Role.APPLICATION),
        ("", Role.APPLICATION),
    ],
)
def test_the_role_is_told_from_the_command(command: str, role: Role) -> None:
    """Servers that start workers supervise; everything else is an application."""
    assert classify(command.split(), {}) is role


def test_web_concurrency_makes_uvicorn_a_supervisor() -> None:
    """uvicorn reads WEB_CONCURRENCY where --workers is not given."""
    command = ["python", "-m", "uvicorn", "app:app"]
    assert classify(command, {"WEB_CONCURRENCY": "3"}) is Role.SUPERVISOR
    assert classify([*command, "--workers", "1"], {"WEB_CONCURRENCY": "3"}) is Role.APPLICATION


def test_children_of_multiprocessing_are_told_apart() -> None:
    """A spawned child is a worker; the resource tracker is a helper and gets nothing."""
    spawn = ["python", "-c", "from multiprocessing.spawn import spawn_main; spawn_main()", "--multiprocessing-fork"]
    tracker = ["python", "-c", "from multiprocessing.resource_tracker import main;main(5)"]
    server = ["python", "-c", "from multiprocessing.forkserver import main; main(8)"]
    assert [classify(command, {}) for command in (spawn, tracker, server)] == [
        Role.WORKER,
        Role.HELPER,
        Role.SUPERVISOR,
    ]


@pytest.mark.parametrize(
    ("argv", "rest"),
    [
        (["python", "-X", "dev", "-W", "error", "-u", "app.py", "-v"], ["app.py", "-v"]),
        (["python", "-um", "x"], ["-m", "x"]),
        (["python", "-"], ["-"]),
        (["python"], []),
    ],
)
def test_the_interpreters_options_are_not_the_program(argv: list[str], rest: list[str]) -> None:
    """What remains is the program and its arguments."""
    assert program(argv) == rest


def test_a_deadline_never_has_less_than_nothing_left() -> None:
    """Once it has passed, zero seconds remain."""
    assert Deadline(-1).left() == 0.0
    assert 0 < Deadline(60).left() <= 60


def test_services_of_one_parent_in_different_directories_are_different_launches(tmp_path: Path) -> None:
    """Every service of a machine is a child of pid 1; workers, wherever they are, have their parent's launch."""
    code = "from otel_distro.process import launch; print(launch({})); print(launch({'OTEL_DISTRO_LAUNCH': 'known'}))"
    places = [tmp_path / name for name in ("orders", "orders", "mail")]
    for place in places:
        place.mkdir(exist_ok=True)
    orders, again, mail = (
        subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True).stdout
        for place in places
    )
    assert orders == again != mail
    assert {text.splitlines()[1] for text in (orders, mail)} == {"known"}
