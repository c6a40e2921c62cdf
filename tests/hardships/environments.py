"""Environments of other projects, made once in a cache outside the tree."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.programs import ROOT


def environment(cache: Path, name: str, requirements: Sequence[str]) -> Path:
    """The directory of the programs of an environment with these packages and this distro, as this tree has it."""
    home = cache / f"{name}-{sys.version_info[0]}.{sys.version_info[1]}"
    programs = home / "bin"
    if not (home / "complete").exists():
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        pip = [str(programs / "python"), "-m", "pip", "install", "-q"]
        subprocess.run([*pip, "-e", str(ROOT), *requirements], check=True)
        (home / "complete").touch()
    return programs
