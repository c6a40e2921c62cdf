"""From a heap of spans to rows in drawing order; no recursion, and no assumption that the spans make sense."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from opentelemetry.trace import SpanKind

from .spans import SpanLike, process_of, service_of


@dataclass(slots=True)
class Node:
    """A span in its place.

    `start` and `end` are nanoseconds, moved by `shift` where another process' clock was off; `parent_known` is False
    where the parent is not among the spans.
    """

    span: SpanLike
    service: str
    start: int
    end: int
    parent_known: bool = True
    shift: int = 0
    children: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Row:
    """A node with its depth, and for the innermost few levels whether more comes below on that level."""

    node: Node
    depth: int
    open_levels: list[bool]


class Forest:
    """The trees that the spans make: usually one, more when spans are missing.

    Args:
        spans: of one trace, in any order; a span seen twice counts once, one without a context not at all.
    """

    def __init__(self, spans: Iterable[SpanLike]) -> None:
        self.duplicates = 0
        self._nodes: dict[int, Node] = {}
        for span in spans:
            if span.context is None:
                continue
            if span.context.span_id in self._nodes:
                self.duplicates += 1
                continue
            start = span.start_time or 0
            node = Node(span, service_of(span), start, max(start, span.end_time or start))
            self._nodes[span.context.span_id] = node
        self.roots = self._link()
        for node in self._walk():
            _correct_clock(node)

    @property
    def nodes(self) -> list[Node]:
        """All nodes, in the order their spans came."""
        return list(self._nodes.values())

    def rows(self, levels: int) -> Iterator[Row]:
        """Every node from the top down; each row knows its innermost `levels` levels."""
        open_levels: list[bool] = []
        waiting = [(node, 0, False) for node in reversed(self.roots)]
        while waiting:
            node, depth, more = waiting.pop()
            del open_levels[depth:]
            open_levels.append(more)
            yield Row(node, depth, open_levels[max(1, depth - levels + 1) :])
            last = len(node.children) - 1
            waiting.extend((node.children[i], depth + 1, i < last) for i in range(last, -1, -1))

    def _link(self) -> list[Node]:
        """Hang every node under its parent; gives the roots, oldest first, each cycle broken at its oldest span."""
        roots = []
        for node in sorted(self._nodes.values(), key=lambda node: node.start):
            parent = node.span.parent
            above = self._nodes.get(parent.span_id) if parent is not None else None
            node.parent_known = parent is None or above is not None
            if above is None or above is node:
                roots.append(node)
            else:
                above.children.append(node)
        reached = {id(node) for node in _below(roots)}
        for node in sorted(self._nodes.values(), key=lambda node: node.start):
            if id(node) in reached:
                continue
            parent = node.span.parent
            if parent is not None:
                self._nodes[parent.span_id].children.remove(node)
            node.parent_known = False
            roots.append(node)
            reached.update(id(found) for found in _below([node]))
        return sorted(roots, key=lambda node: node.start)

    def _walk(self) -> Iterator[Node]:
        return _below(self.roots)


def _below(roots: Iterable[Node]) -> Iterator[Node]:
    """The nodes and all under them, parents first; ends also when they form a ring."""
    waiting, seen = list(roots), set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        waiting.extend(node.children)


def _correct_clock(parent: Node) -> None:
    """Move children into place: with their parent's clock, or by their own when that cannot be right.

    A server cannot begin before its caller called, nor after the caller had its answer: then two clocks disagree, and
    the served span is put in the middle of the call (the rest of that process' spans move along).
    """
    for child in parent.children:
        shift = parent.shift
        if process_of(child.span) != process_of(parent.span):
            shift = 0
            called = parent.span.kind is SpanKind.CLIENT and child.span.kind is SpanKind.SERVER
            if called and not parent.start <= child.start <= parent.end:
                spare = (parent.end - parent.start) - (child.end - child.start)
                shift = parent.start + max(0, spare) // 2 - child.start
        child.shift = shift
        child.start += shift
        child.end += shift
