"""What the suites need beside Python: Debian's Redis and PostgreSQL, and the Go programs built from our locks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .environments import ROOT


def debian_packages() -> None:
    """Install Redis and PostgreSQL where they are missing and it may; else end with one line naming them."""
    missing = []
    if not shutil.which("redis-server"):
        missing.append("redis-server")
    if not shutil.which("postgres") and not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        missing.append("postgresql")
    if not shutil.which("openssl"):
        missing.append("openssl")
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"scripts/test: please install {' and '.join(missing)}; the suites talk to real servers")
    print(f"installing {' '.join(missing)}", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", *missing]):
        done = subprocess.run(command, env=quiet, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            sys.exit(f"scripts/test: failed: {' '.join(command)}")


def go_programs() -> None:
    """Build the collector, Jaeger, Prometheus and promtool into the cache; each script says what is missing."""
    for script in (["build-collector"], ["build-collector", "agent"], ["build-collector", "start"], ["build-tools"]):
        done = subprocess.run([str(ROOT / "scripts" / script[0]), *script[1:]], check=False)
        if done.returncode:
            sys.exit(f"scripts/test: scripts/{' '.join(script)} failed")
