"""What is installed, read without `importlib.metadata`: its import costs more than a start that does without."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

_PREFIX = "opentelemetry_"
_FOLDERS = (".dist-info", ".egg-info")


class Point(NamedTuple):
    """An entry point of an installed package.

    Attributes:
        group: what it is for.
        name: how users call it.
        value: `module:attribute`.
    """

    group: str
    name: str
    value: str


def entry_points(*groups: str) -> tuple[Point, ...] | None:
    """The installed entry points of these groups, once each.

    Args:
        groups: such as `opentelemetry_instrumentor`; all begin with `opentelemetry_`.

    Returns:
        None where packages are found in other ways than in folders of `sys.path` (an archive, a finder of its own), so
        that only `importlib.metadata` can tell.
    """
    # the stock launcher has read it all; the SDK brings the module as well, and would read all of it again
    metadata = sys.modules.get("opentelemetry.util._importlib_metadata")
    if metadata is not None and (not _found.cache_info().currsize or _found(tuple(sys.path)) is None):
        points = (point for group in groups for point in metadata.entry_points(group=group))
        return tuple(dict.fromkeys(Point(point.group, point.name, point.value) for point in points))
    if any(hasattr(finder, "find_distributions") and not _built_in(finder) for finder in sys.meta_path):
        return None
    found = _found(tuple(sys.path))
    return None if found is None else tuple(point for point in found if point.group in groups)


@lru_cache(maxsize=1)
def _found(path: tuple[str, ...]) -> tuple[Point, ...] | None:
    found: dict[Point, None] = {}
    for folder in dict.fromkeys(path):
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
                found |= dict.fromkeys(_declared(f"{folder or os.curdir}/{name}/entry_points.txt"))
    return tuple(found)


def _built_in(finder: object) -> bool:
    return getattr(finder, "__module__", "") in {"_frozen_importlib", "_frozen_importlib_external"}


def _declared(path: str) -> Iterator[Point]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - no pathlib in a start
            text = file.read()
    except OSError:
        return
    if _PREFIX not in text:
        return
    group = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif group.startswith(_PREFIX) and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield Point(group, name.strip(), value.strip())
