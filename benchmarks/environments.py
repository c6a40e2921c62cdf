"""One virtual environment for each distinct set of requirements, cached outside the tree."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers import BASE, ROOT, Peer

PLOT_REQUIREMENTS = ("matplotlib==3.11.2",)


def cache() -> Path:
    """Directory of everything that is built once: `$OTEL_DISTRO_CACHE/bench`, else below ~/.cache."""
    base = os.environ.get("OTEL_DISTRO_CACHE")
    return (Path(base) if base else Path.home() / ".cache" / "otel-distro") / "bench"


def environment_of(requirements: Sequence[str]) -> Path:
    """Directory of a virtual environment with these requirements, made if it is not there yet.

    Raises:
        subprocess.CalledProcessError: pip could not install them.
    """
    text = "\n".join([sys.version, *sorted(requirements)])
    directory = cache() / hashlib.sha256(text.encode()).hexdigest()[:12]
    complete = directory / ".complete"
    if complete.exists():
        return directory
    shutil.rmtree(directory, ignore_errors=True)  # a half-made one: its installation was interrupted
    print(f"installing {directory.name}: {' '.join(requirements)}", flush=True)
    venv.create(directory, with_pip=True)
    _pip(directory, "install", "-q", *requirements)
    complete.write_text("\n".join(requirements) + "\n")
    return directory


def prepare(peers: Sequence[Peer]) -> dict[str, Path]:
    """Environment of each peer by its name; this checkout is built once and installed anew where it belongs."""
    found = {peer.name: environment_of((*BASE, *peer.requirements)) for peer in peers}
    for directory in {found[peer.name] for peer in peers if peer.checkout}:
        _pip(directory, "install", "-q", "--no-deps", "--no-build-isolation", "--force-reinstall", str(ROOT))
    return found


def versions(directory: Path) -> dict[str, str]:
    """Package versions installed in an environment."""
    listing = _pip(directory, "list", "--format=freeze")
    pairs = (line.partition("==") for line in listing.splitlines() if "==" in line)
    return {name: version for name, _, version in pairs}


def _pip(directory: Path, *arguments: str) -> str:
    command = [str(directory / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", *arguments]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return result.stdout
