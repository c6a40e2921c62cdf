"""Rules between the paths of the health endpoints: each path answers one question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ._problem import Problem
from .catalogue import Health

_PATHS: Final = {
    "live_paths": "OTEL_DISTRO_HEALTH_LIVE_PATHS",
    "basic_paths": "OTEL_DISTRO_HEALTH_PATHS",
    "ready_paths": "OTEL_DISTRO_HEALTH_READY_PATHS",
    "detailed_paths": "OTEL_DISTRO_HEALTH_DETAILED_PATHS",
}


def resolve(health: Health, environ: Mapping[str, str], problems: list[Problem]) -> Health:
    """Give each path to the variable that was set for it, before any default; of two that were set to the first above.

    Args:
        health: as parsed.
        environ: what it was parsed from.
        problems: gets the paths that two variables were set for.
    """
    asked = [field for field, variable in _PATHS.items() if environ.get(variable, "").strip()]
    owners: dict[str, str] = {}
    kept: dict[str, tuple[str, ...]] = {}
    for field in [*asked, *(field for field in _PATHS if field not in asked)]:
        paths: tuple[str, ...] = getattr(health, field)
        kept[field] = tuple(path for path in paths if owners.setdefault(path, field) == field)
        taken = [path for path in paths if path not in kept[field]]
        if taken and field in asked:
            owner = _PATHS[owners[taken[0]]]
            reason = f"{taken[0]} is named by {owner} as well"
            problems.append(Problem(_PATHS[field], ",".join(paths)[:80], reason, "it answers as that says", leave=True))
    return health.replace(**kept)
