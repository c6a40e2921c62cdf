"""Stacks of real servers for the collector's tests; their logs stay in test-logs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.otlp_servers import Certificates
from tests.servers import Stack, tempo_line

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOGS = Path(__file__).resolve().parents[2] / "test-logs" / "collector"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in the report whether Tempo itself was tested."""
    terminalreporter.write_line(tempo_line())


def _emptied(directory: Path) -> Path:
    """The directory without the logs of an earlier run."""
    for old in directory.glob("*.log"):
        old.unlink()
    return directory


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority and its certificates, made once: a key takes a second."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def logs(request: pytest.FixtureRequest) -> Path:
    """Directory for the logs of one test's servers, emptied at its start and kept at its end."""
    return _emptied(_LOGS / re.sub(r"\W+", "-", request.node.name))


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack that the tests of one module share and leave running."""
    with Stack(_emptied(_LOGS / "shared")) as running:
        yield running


@pytest.fixture
def mortal_stack(logs: Path) -> Iterator[Stack]:
    """A stack of a test's own, whose servers keep their data when they are killed."""
    with Stack(logs, storage="badger") as running:
        yield running
