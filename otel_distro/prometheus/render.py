"""The text of `/metrics`: Prometheus 0.0.4 and OpenMetrics 1.0, from snapshots.

Lines are worked out when series are added and kept; a scrape fills in numbers. It gives the interpreter to other
threads after every slice of lines, so that a scrape of any size delays nobody by more than a slice.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

from opentelemetry.sdk.resources import Resource

from otel_distro.guard import Guard
from otel_distro.metrics.identity import Kind
from otel_distro.metrics.pauses import Pauses
from otel_distro.metrics.source import Snapshot

from . import families
from .families import Exemplars, Family, Item

_SLICE = 8  # series a slice: some 150 lines of histograms


class _Lines(Protocol):
    def lines(self, cells: Sequence[float], exemplars: Exemplars) -> str: ...


class Renderer:
    """Text from snapshots.

    Args:
        guard: gets warnings about colliding names.
        resource: gives the resource of `target_info` now; None leaves that out.
        scope_labels: whether samples name their instrumentation scope (specification: by default they do).
        pause: called after every slice of lines; gives other threads their turn. Made here unless given.
    """

    def __init__(
        self,
        guard: Guard,
        resource: Callable[[], Resource | None],
        *,
        scope_labels: bool = True,
        pause: Callable[[], None] | None = None,
    ) -> None:
        self._guard = guard
        self._resource = resource
        self._scope_labels = scope_labels
        self.pause = pause or Pauses()
        self._plans: dict[bool, tuple[Hashable, Resource | None, list[tuple[str, list[_Lines]]]]] = {}

    def render(self, snapshot: Snapshot, *, openmetrics: bool) -> bytes:
        """All lines.

        Args:
            snapshot: what to show.
            openmetrics: OpenMetrics 1.0 with exemplars and `_created`, else text 0.0.4.
        """
        chunks: list[bytes] = []
        cells, exemplars = snapshot.cells, snapshot.exemplars if openmetrics else {}
        part: list[str] = []
        for header, series in self._plan(snapshot, openmetrics=openmetrics):
            pending = header
            for count, one in enumerate(series):
                lines = one.lines(cells, exemplars)
                if lines:
                    part.append(pending + lines if pending else lines)
                    pending = ""
                if len(part) >= _SLICE or count % _SLICE == _SLICE - 1:
                    chunks.append("".join(part).encode())
                    part.clear()
                    self.pause()
        if openmetrics:
            part.append("# EOF\n")
        chunks.append("".join(part).encode())
        return b"".join(chunks)

    def _plan(self, snapshot: Snapshot, *, openmetrics: bool) -> list[tuple[str, list[_Lines]]]:
        resource = self._resource()
        kept = self._plans.get(openmetrics)
        if kept is not None and kept[0] == snapshot.version and kept[1] is resource:
            return kept[2]
        labels = self._scope_labels
        made = families.build(snapshot.entries, resource, self._guard, scope_labels=labels, pause=self.pause)
        plan: list[tuple[str, list[_Lines]]] = []
        for family in made:
            lines: list[_Lines] = []
            for number, item in enumerate(family.items.values()):
                lines.append(_lines(family, item, openmetrics=openmetrics))
                if number % _SLICE == 0:
                    self.pause()
            plan.append((family.header(openmetrics=openmetrics), lines))
        self._plans[openmetrics] = (snapshot.version, resource, plan)
        return plan


class _Info:
    """The line of the resource."""

    __slots__ = ("_line",)

    def __init__(self, family: Family, item: Item) -> None:
        self._line = f"{family.name}_info{{{item.labels}}} 1.0\n"

    def lines(self, cells: Sequence[float], exemplars: Exemplars) -> str:
        return self._line


def _lines(family: Family, item: Item, *, openmetrics: bool) -> _Lines:
    if family.type == "info":
        return _Info(family, item)
    if family.type != "histogram":
        return families.Scalar(family, item, openmetrics=openmetrics)
    if item.entries[0].identity.kind is Kind.EXPONENTIAL:
        return families.Exponential(family, item, openmetrics=openmetrics)
    return families.Histogram(family, item, openmetrics=openmetrics)
