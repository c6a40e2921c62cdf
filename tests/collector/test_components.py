"""The Go tests of our collector components and of the start program."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

_COLLECTOR = Path(__file__).resolve().parents[2] / "collector"


@pytest.mark.timeout(1800)  # a first run compiles the collector's libraries for the tests
@pytest.mark.parametrize("module", ["components", "kafkatraces", "start"])
def test_go_module_is_sound(module: str) -> None:
    """`go vet` and `go test` find nothing, with the locked versions."""
    environment = os.environ | {"GOFLAGS": "-mod=readonly", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    for command in (["go", "vet", "./..."], ["go", "test", "./..."]):
        result = subprocess.run(
            command, cwd=_COLLECTOR / module, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr
    sources = [str(path) for path in (_COLLECTOR / module).rglob("*.go")]
    result = subprocess.run(["gofmt", "-l", *sources], capture_output=True, text=True, check=True)
    assert result.stdout == ""
