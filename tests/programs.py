"""Programs in processes of their own: the launchers, an environment without telemetry, and a run to the end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from opentelemetry.instrumentation import auto_instrumentation

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
OURS = ("otel-distro", "run")
STOCK = ("opentelemetry-instrument",)
INJECTED = ("env", f"PYTHONPATH={Path(auto_instrumentation.__file__).parent}")
"""As Kubernetes' operator starts programs: the stock launcher's part in them, without itself."""


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """This process's variables without those of telemetry, the launchers on PATH, our distro chosen, and `given`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SENTRY_", "NO_COLOR"))}
    return {**kept, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OTEL_PYTHON_DISTRO": "otel_distro", **given}


def run(
    code: str,
    launcher: Sequence[str] = OURS,
    *,
    cwd: Path = ROOT,
    check: bool = False,
    seconds: float = 150,
    **environ: str,
) -> subprocess.CompletedProcess[str]:
    """Run a piece of Python under a launcher, to its end.

    Raises:
        subprocess.CalledProcessError: with `check`, where it ends with another status than 0.
        subprocess.TimeoutExpired: it ran for longer than `seconds`.
    """
    return subprocess.run(
        [*launcher, sys.executable, "-c", code],
        env=environment(environ),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        check=check,
        cwd=cwd,
    )
