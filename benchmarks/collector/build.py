"""How long everything of the collector takes to build where nothing was built or downloaded before."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
#: Name and the words after scripts/build-collector.
_PROGRAMS: dict[str, tuple[str, ...]] = {"gateway": (), "agent": ("agent",), "otelcol-start": ("start",)}


def cold() -> dict[str, Any]:
    """Seconds by the clock and of CPU, and the size of each program; two gigabytes of disk for as long as it takes.

    Raises:
        CalledProcessError: something could not be built.
    """
    with tempfile.TemporaryDirectory(prefix="cold-build-") as folder:
        caches = {name: f"{folder}/{name}" for name in ("GOCACHE", "GOMODCACHE", "OTEL_DISTRO_CACHE")}
        environment = {**os.environ, **caches}
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        try:
            sizes = {name: _built(words, environment) for name, words in _PROGRAMS.items()}
        finally:
            took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
            # Modules are written read-only: only this removes them.
            subprocess.run(["go", "clean", "-modcache"], cwd=_ROOT, env=environment, check=True)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": took, "cpu_seconds": cpu, "cores": os.cpu_count(), "bytes": sizes}


def _built(words: tuple[str, ...], environment: dict[str, str]) -> int:
    command = ["nice", str(_ROOT / "scripts" / "build-collector"), *words]
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    return Path(output.strip().splitlines()[-1]).stat().st_size
