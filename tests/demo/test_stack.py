"""`--stack`: the demo against PostgreSQL, Redis, the collector, Jaeger, Tempo or its stand-in, and Prometheus."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import tempo_line

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "examples.demo", "--stack", "--rounds", "1"]


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    """Run the demo against the servers until it ends."""
    return subprocess.run(
        COMMAND,
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"} | environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.timeout(1_800)  # what the Go cache does not hold is built first
def test_the_trace_is_in_both_backends_and_the_count_in_prometheus() -> None:
    """The trace on the screen has the same spans in Jaeger and in Tempo, and Prometheus has the count that was sent."""
    done = run()
    assert done.returncode == 0, done.stderr + done.stdout
    heading = re.search(r"trace (\w{32}) · [\d.]+ \w+ · (\d+) spans · 2 services", done.stdout)
    assert heading is not None
    found = re.findall(rf"trace {heading[1]} found in (\S+): {heading[2]} spans", done.stdout)
    assert found == ["jaeger", tempo_line().partition(":")[0]]
    sent = re.search(r"(\d+) requests sent, (\d+) counted\n +(\d+) requests found in prometheus", done.stdout)
    assert sent is not None
    assert sent[1] == sent[2] == sent[3]


def test_a_missing_go_is_one_line(tmp_path: Path) -> None:
    """Without Go and without a cache of what it builds, it is said what is missing, and nothing is started."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "dirname", "sha256sum", "find", "sort", "xargs", "cut", "redis-server"):
        (tools / tool).symlink_to(f"/usr/bin/{tool}")
    done = run(PATH=str(tools), OTEL_DISTRO_CACHE=str(tmp_path / "cache"), OTELCOL_BINARY="")
    assert done.returncode == 1
    assert "there is no go on PATH" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("demo: scripts/build-")
    assert "Traceback" not in done.stderr
    assert "starting them" not in done.stdout
