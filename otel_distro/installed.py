"""What is installed, read without `importlib.metadata`: its import costs more than a start that does without."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

_FOLDERS = (".dist-info", ".egg-info")


def entry_points(prefix: str) -> list[tuple[str, str, str]] | None:
    """Group, name and value of every installed entry point in a group whose name begins with `prefix`.

    Args:
        prefix: of groups.

    Returns:
        None where packages are found in other ways than in folders of `sys.path` (an archive, a finder of its own), so
        that only `importlib.metadata` can tell.
    """
    if any(hasattr(finder, "find_distributions") and not _built_in(finder) for finder in sys.meta_path):
        return None
    found: list[tuple[str, str, str]] = []
    for folder in dict.fromkeys(sys.path):
        try:
            names = os.listdir(folder or os.curdir)  # noqa: PTH208 - pathlib is an import of 5 ms
        except NotADirectoryError:
            return None
        except OSError:
            continue
        for name in names:
            if name.endswith(".egg"):
                return None
            if name.endswith(_FOLDERS):
                found += _declared(f"{folder or os.curdir}/{name}/entry_points.txt", prefix)
    return found


def _built_in(finder: object) -> bool:
    return getattr(finder, "__module__", "") in {"_frozen_importlib", "_frozen_importlib_external"}


def _declared(path: str, prefix: str) -> Iterator[tuple[str, str, str]]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            text = file.read()
    except OSError:
        return
    if prefix not in text:
        return
    group = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif group.startswith(prefix) and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield group, name.strip(), value.strip()
