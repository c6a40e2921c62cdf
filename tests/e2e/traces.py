"""How a trace is compared: as a tree of services, kinds and names, whatever order its spans arrived in."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from tests.servers.signals import SpanRecord


@dataclass(frozen=True)
class Node:
    """One span and the spans below it, by start time."""

    line: str
    below: tuple[Node, ...] = ()


def new_trace() -> tuple[str, dict[str, str]]:
    """A trace id of the caller's, and the header that makes a request part of that trace."""
    trace_id = secrets.token_hex(16)
    return trace_id, {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}


def tree(spans: Iterable[SpanRecord]) -> list[Node]:
    """The trace as trees: one for each span whose parent is not among the spans."""
    known = list(spans)
    ids = {span.span_id for span in known}

    def node(span: SpanRecord) -> Node:
        return Node(f"{span.service} {span.kind} {span.name}", below(span.span_id))

    def below(parent: str) -> tuple[Node, ...]:
        children = [span for span in known if span.parent_span_id == parent]
        return tuple(node(span) for span in sorted(children, key=lambda span: span.start_unix_nano))

    return [node(span) for span in known if span.parent_span_id not in ids]


def text(trees: Iterable[Node], depth: int = 0) -> str:
    """The tree as indented lines, for messages that a person can read."""
    return "".join("  " * depth + node.line + "\n" + text(node.below, depth + 1) for node in trees)


def one(spans: Iterable[SpanRecord], service: str, name: str) -> SpanRecord:
    """The only span of that service and name."""
    found = [span for span in spans if (span.service, span.name) == (service, name)]
    assert len(found) == 1, f"{len(found)} spans are {service} {name}"
    return found[0]
