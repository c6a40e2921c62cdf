"""One trace as lines of text: a tree with services, kinds, durations on a common scale, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from opentelemetry.trace import StatusCode, format_trace_id

from .details import details, problem
from .forest import Forest, Node, Row
from .spans import SpanLike
from .style import BOLD, DIM, RED, SERVICE_COLOURS, YELLOW, Style
from .text import clean, duration, fit

_PLAIN = Style()
_KIND_WIDTH = 9
_TIME_WIDTH = 8
_SERVICE_WIDTH = 14
_SKEW_SAID = 1_000_000  # ns; less than a millisecond between two clocks is no news


@dataclass(frozen=True, slots=True)
class _Columns:
    """Widths of one drawing; a column of no width is left out."""

    service: int
    kind: int
    name: int
    bar: int
    levels: int

    @classmethod
    def of(cls, width: int, services: Iterable[str]) -> _Columns:
        """Share `width` cells: the bar goes first when they are few, then the kind, then the service."""
        longest = max((len(service) for service in services), default=0)
        service = min(longest, _SERVICE_WIDTH) + 1 if width >= 48 else 0
        kind = _KIND_WIDTH if width >= 64 else 0
        bar = min(24, width // 5) if width >= 80 else 0
        name = max(4, width - service - kind - _TIME_WIDTH - 1 - (bar + 1 if bar else 0))
        return cls(service, kind, name, bar, max(1, name // 6))


class TraceTree:
    """A trace, or a process' part of one, that can be drawn.

    Args:
        spans: of one trace, in any order, from any number of processes.
        note: words for the heading, such as why this is only a part.
    """

    def __init__(self, spans: Iterable[SpanLike], *, note: str = "") -> None:
        self._forest = Forest(spans)
        self._note = note
        nodes = self._forest.nodes
        self._start = min((node.start for node in nodes), default=0)
        self._end = max((node.end for node in nodes), default=0)
        context = nodes[0].span.context if nodes else None
        self.trace_id = format_trace_id(context.trace_id) if context is not None else ""
        self.errors = sum(node.span.status.status_code is StatusCode.ERROR for node in nodes)
        self.services = tuple(dict.fromkeys(row.node.service for row in self._forest.rows(1)))

    @property
    def duration(self) -> int:
        """Nanoseconds from the first start to the last end."""
        return self._end - self._start

    def lines(self, width: int = 120, style: Style = _PLAIN, max_rows: int = 1_000) -> Iterator[str]:
        """The drawing, line by line without line ends; no line is wider than `width` cells, from 20 on.

        Args:
            width: columns to fill.
            style: colours and characters.
            max_rows: spans drawn; the rest is counted in a last line.
        """
        yield self._heading(width, style)
        columns = _Columns.of(width, self.services)
        colours = {name: SERVICE_COLOURS[i % len(SERVICE_COLOURS)] for i, name in enumerate(self.services)}
        for number, row in enumerate(self._forest.rows(columns.levels)):
            if number == max_rows:
                left = len(self._forest.nodes) - number
                yield fit(f"{style.more} {left:,} more spans", width, more=style.more).rstrip()
                return
            yield self._span_line(row, columns, style, colours[row.node.service])
            if text := problem(row.node.span):
                yield _problem_line(row, text, columns, style)

    def _heading(self, width: int, style: Style) -> str:
        count = len(self._forest.nodes)
        parts = [f"trace {self.trace_id}", duration(self.duration), f"{count:,} span{'s' * (count != 1)}"]
        if len(self.services) > 1:
            parts.append(f"{len(self.services)} services")
        if self.errors:
            parts.append(f"{self.errors} error{'s' * (self.errors != 1)}")
        if self._forest.duplicates:
            parts.append(f"{self._forest.duplicates} seen twice")
        parts.extend(self._skews())
        if self._note:
            parts.append(clean(self._note))
        text = fit(f" {style.dot} ".join(parts), width, more=style.more).rstrip()
        return style.paint(text, BOLD, *([RED] if self.errors else []))

    def _skews(self) -> Iterator[str]:
        """Which services' clocks were moved, and by how much."""
        seen: dict[str, int] = {}
        for node in self._forest.nodes:
            if abs(node.shift) >= _SKEW_SAID:
                seen.setdefault(node.service, node.shift)
        for service, shift in seen.items():
            yield f"clock of {clean(service)} {'+' if shift > 0 else '-'}{duration(abs(shift))}"

    def _span_line(self, row: Row, columns: _Columns, style: Style, colour: str) -> str:
        node = row.node
        failed = node.span.status.status_code is StatusCode.ERROR
        guides = _guides(row, style)
        extra = details(node.span)
        label = clean(node.span.name) + (f" {style.dot} {extra}" if extra else "")
        room = max(0, columns.name - len(guides) - 1)
        line = [
            style.paint(fit(clean(node.service), columns.service - 1, more=style.more) + " ", colour)
            if columns.service
            else "",
            style.paint(fit(node.span.kind.name.lower(), columns.kind), DIM) if columns.kind else "",
            style.paint(guides, DIM),
            style.paint(fit(label, room, more=style.more) + " ", *([RED] if failed else [])),
            duration(None if node.span.end_time is None else node.end - node.start).rjust(_TIME_WIDTH),
        ]
        if columns.bar:
            line.append(" " + style.paint(self._bar(node, columns.bar, style), RED if failed else colour))
        return "".join(line).rstrip()

    def _bar(self, node: Node, width: int, style: Style) -> str:
        whole = max(1, self.duration)
        return style.bar((node.start - self._start) / whole, (node.end - node.start) / whole, width).rstrip()


def _guides(row: Row, style: Style) -> str:
    """The lines that lead from the ancestors to a row; the outer levels of a deep tree are given as a number."""
    through, last, fork = ("|  ", "`- ", "|- ") if style.ascii else ("│  ", "└─ ", "├─ ")
    missing = ("?- " if style.ascii else "?─ ") if not row.node.parent_known else ""
    if not row.depth:
        return missing
    hidden = row.depth - len(row.open_levels)
    start = f"{hidden}{style.more}" if hidden else ""
    return (
        start
        + "".join(through if more else "   " for more in row.open_levels[:-1])
        + (fork if row.open_levels[-1] else last)
    )


def _problem_line(row: Row, text: str, columns: _Columns, style: Style) -> str:
    """The exception, under its span and still inside the tree's lines."""
    through = "|  " if style.ascii else "│  "
    hidden = row.depth - len(row.open_levels)
    start = " " * len(f"{hidden}{style.more}") if hidden else ""
    guides = start + "".join(through if more else "   " for more in row.open_levels)
    guides += through if row.node.children else "   "
    bar = columns.bar + 1 if columns.bar else 0
    room = max(0, columns.name + _TIME_WIDTH + 1 + bar - len(guides) - 2)
    mark = "x " if style.ascii else "✗ "
    failed = row.node.span.status.status_code is StatusCode.ERROR
    indent = " " * (columns.service + columns.kind)
    return (
        indent
        + style.paint(guides, DIM)
        + style.paint(fit(mark + text, room + 2, more=style.more).rstrip(), RED if failed else YELLOW)
    )


__all__ = ["TraceTree"]
