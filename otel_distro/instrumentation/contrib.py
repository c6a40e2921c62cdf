"""Contrib's and third parties' instrumentors: each loaded in its own guard, with a reason when it is not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from otel_distro._compat import entry_points as metadata
from otel_distro.guard import Guard
from otel_distro.installed import Point, entry_points
from otel_distro.records import dataclass

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from opentelemetry.instrumentation.dependencies import DependencyConflict

GROUP = "opentelemetry_instrumentor"

ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    # one span per ASGI message triples the spans of a request and tells nothing (contrib #831, #2343)
    "fastapi": {"exclude_spans": ["send", "receive"]},
    "starlette": {"exclude_spans": ["send", "receive"]},
}
"""What is passed to `instrument()` by entry-point name, where contrib has no variable for it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Who instruments a library and why.

    Attributes:
        library: the entry-point name.
        by: `otel-distro`, `contrib`, `the library` or `nobody`.
        reason: one clause.
    """

    library: str
    by: str
    reason: str


def load(*, disabled: Collection[str], guard: Guard) -> list[Decision]:
    """Load every installed instrumentor that is not disabled.

    Args:
        disabled: entry-point names the user switched off; `*` for all.
        guard: gets an instrumentor that raises; the others go on (contrib's own loop stops there).
    """
    return [load_one(found, disabled=disabled, skip={}, guard=guard) for found in installed()]


def installed() -> list[Point]:
    """Every installed instrumentor, once."""
    found = entry_points(GROUP)
    if found is None:
        found = tuple(Point(GROUP, point.name, point.value) for point in metadata(group=GROUP))
    # an editable and a regular install of one distribution list the same entry point twice
    return list({(point.name, point.value): point for point in found}.values())


def load_one(found: Point, *, disabled: Collection[str], skip: Mapping[str, str], guard: Guard) -> Decision:
    """Load one instrumentor, and say what became of it.

    Args:
        found: its entry point.
        disabled: as of `load`.
        skip: entry-point name -> why somebody else takes it.
        guard: as of `load`.
    """
    if "*" in disabled or found.name in disabled:
        return Decision(found.name, "nobody", "disabled by OTEL_PYTHON_DISABLED_INSTRUMENTATIONS")
    if found.name in skip:
        return Decision(found.name, "otel-distro", skip[found.name])
    return _load(_point(found), guard)


def _load(point: EntryPoint, guard: Guard) -> Decision:
    part = f"instrumentor {point.name}"
    conflict = guard.call(part, None, _conflict, point)
    if conflict is not None:
        return _conflicting(point.name, conflict, guard)
    try:
        point.load()().instrument(skip_dep_check=True, **ARGUMENTS.get(point.name, {}))
    except ModuleNotFoundError as error:
        return Decision(point.name, "nobody", f"{error.name} is not installed")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - one instrumentor must not take the others along (contrib #3642)
        guard.failed(part, error, remedy=f"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS={point.name} silences this")
        return Decision(point.name, "nobody", f"it raised {type(error).__name__}")
    return Decision(point.name, "contrib", "loaded at once")


def _point(found: Point) -> EntryPoint:
    """With its distribution: all metadata is read for it, so this is for what is to be loaded."""
    from importlib.metadata import EntryPoint

    points = (point for point in metadata(group=GROUP, name=found.name) if point.value == found.value)
    return next(points, EntryPoint(found.name, found.value, GROUP))


def _conflict(point: EntryPoint) -> DependencyConflict | None:
    # late: it brings `packaging` along, and where ours take over nobody asks
    from opentelemetry.instrumentation.dependencies import get_dist_dependency_conflicts

    return None if point.dist is None else get_dist_dependency_conflicts(point.dist)


def _conflicting(name: str, conflict: DependencyConflict, guard: Guard) -> Decision:
    found, wanted = [conflict.found or ""], [conflict.required]
    if conflict.required is None:
        # one of several packages will do
        found, wanted = list(conflict.found_any or ()), list(conflict.required_any or ())
    if not any(found):
        return Decision(name, "nobody", "the library is not installed")
    wants = " or ".join([str(each).partition(";")[0] for each in wanted])
    reason = f"installed is {' and '.join(found)}, contrib's instrumentor wants {wants}"
    guard.warn(f"{name} is not instrumented: {reason}", once=f"conflict {name}")
    return Decision(name, "nobody", reason)
