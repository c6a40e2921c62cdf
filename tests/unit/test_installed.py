"""Installed entry points, read without `importlib.metadata`."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points as metadata
from pathlib import Path

GROUPS = ("opentelemetry_instrumentor", "opentelemetry_distro", "opentelemetry_pre_instrument", "opentelemetry_context")
ASKED = f"import sys; from otel_distro.installed import entry_points; print(sorted(entry_points(*{GROUPS!r}) or ['?']))"


def asked(*path: Path, before: str = "") -> str:
    """What a fresh interpreter says, with these entries in front of its path."""
    code = f"{before}import sys; sys.path[:0] = {list(map(str, path))!r}; {ASKED}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_what_is_read_is_what_python_reads() -> None:
    """Folders tell the same as `importlib.metadata`, and so does what the stock launcher has read already."""
    expected = sorted({(p.group, p.name, p.value) for group in GROUPS for p in metadata(group=group)})
    assert [asked(), asked(before="import opentelemetry.util._importlib_metadata; ")] == [str(_points(expected))] * 2


def test_what_was_read_is_not_read_again_because_the_sdk_could() -> None:
    """The SDK brings upstream's reader, which nobody has asked yet: it would go through all packages once more."""
    before = (
        "from otel_distro.installed import entry_points; entry_points('opentelemetry_'); "
        "import opentelemetry.util._importlib_metadata as m; m.entry_points = None; "
    )
    assert asked(before=before) == asked()


def _points(found: list[tuple[str, str, str]]) -> list[object]:
    from otel_distro.installed import Point

    return [Point(*each) for each in found]


def test_comments_spaces_and_other_groups_are_passed_over(tmp_path: Path) -> None:
    """The format of entry points is read as it is: groups, comments, spaces around names; a line twice counts once."""
    for name in ("one-1.0.dist-info", "again-1.0.egg-info"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "entry_points.txt").write_text(
            "[console_scripts]\nmine = a:b\n\n[opentelemetry_instrumentor]\n# said = no:no\n  mine  =  made.up:Thing \n"
        )
    assert "Point(group='opentelemetry_instrumentor', name='mine', value='made.up:Thing')" in asked(tmp_path)
    assert asked(tmp_path).count("mine") == 1


def test_an_archive_on_the_path_is_not_guessed_at(tmp_path: Path) -> None:
    """Where packages may be in an archive, or be found by a finder of its own, nothing is said."""
    archive = tmp_path / "packages.zip"
    archive.write_bytes(b"PK")
    finder = "import sys; sys.meta_path.append(type('F', (), {'find_distributions': None, 'find_spec': None})()); "
    assert asked(archive) == "['?']"
    assert asked(before=finder) == "['?']"
