"""What the package tells the tools that install and pack it."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def test_pyinstaller_finds_the_hook() -> None:
    """What PyInstaller is told by our entry point is where its hook for us lies, under the name that it looks for."""
    told = tomllib.loads(PROJECT.read_text())["project"]["entry-points"]["pyinstaller40"]
    (directory,) = EntryPoint("hook-dirs", told["hook-dirs"], "pyinstaller40").load()()
    assert (Path(directory) / "hook-otel_distro.py").is_file()


def test_every_entry_point_leads_somewhere() -> None:
    """A renamed module or function would otherwise be noticed by users only."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    for group, points in groups.items():
        for name, value in points.items():
            assert EntryPoint(name, value, group).load() is not None
