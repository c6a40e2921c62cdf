"""OpenTelemetry packages of other releases than those that are needed, as pip leaves them after a warning."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import programs
from tests.programs import OURS, ROOT, STOCK

# an API that lacks a name, as an older one would
BROKEN = (
    "import sys; sys.modules['opentelemetry.trace'] = type(sys)('opentelemetry.trace'); import requests; print('ran')"
)


def installed(site: Path, name: str, version: str) -> str:
    """A package of this version in front of the installed one; what PYTHONPATH has to say."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return f"{site}{os.pathsep}{ROOT}"


@pytest.mark.parametrize("launcher", [OURS, STOCK], ids=["ours", "stock"])
def test_a_set_up_that_fails_names_the_package_that_does_not_belong(tmp_path: Path, launcher: tuple[str, ...]) -> None:
    """The application runs, and one line tells what is installed, what is needed and what to do."""
    done = programs.run(BROKEN, launcher, PYTHONPATH=installed(tmp_path, "opentelemetry-api", "1.40.0"))
    assert (done.returncode, done.stdout) == (0, "ran\n")
    (line,) = [line for line in done.stderr.splitlines() if "configurator" in line]
    assert "(opentelemetry-api is 1.40.0 and " in line
    assert " is needed: install otel-distro again" in line


def test_a_set_up_that_fails_for_another_reason_names_no_package(tmp_path: Path) -> None:
    """Packages that are as needed, and contrib's instrumentations, without which set-up succeeds, are no reason."""
    path = installed(tmp_path, "opentelemetry-instrumentation-redis", "0.40b0")
    done = programs.run(BROKEN, OURS, PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert "configurator: " in done.stderr
    assert "needed" not in done.stderr
