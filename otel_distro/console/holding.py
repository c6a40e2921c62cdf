"""Finished spans that wait for the end of their local root, within bounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .spans import SpanLike, is_local_root


@dataclass(frozen=True, slots=True)
class Part:
    """Spans to be drawn together; `late` when they ended after their local root was drawn."""

    spans: Sequence[SpanLike]
    late: bool = False


class Holding:
    """Groups spans by trace until they can be drawn.

    Args:
        max_traces: traces held; the oldest is given up for a new one.
        max_spans: spans held over all traces; the oldest trace is given up.
    """

    def __init__(self, max_traces: int, max_spans: int) -> None:
        self._max_traces = max(1, max_traces)
        self._max_spans = max(1, max_spans)
        self._open: OrderedDict[int, dict[int, SpanLike]] = OrderedDict()
        self._drawn: OrderedDict[int, set[int]] = OrderedDict()
        self._open_count = 0
        self._drawn_count = 0
        self.given_up = 0

    def __len__(self) -> int:
        """Spans held now."""
        return self._open_count

    def add(self, spans: Iterable[SpanLike]) -> list[Part]:
        """Take spans in; gives what can be drawn now, in the order in which the traces came."""
        ready: dict[int, list[int]] = {}
        for span in spans:
            if span.context is None:
                continue
            trace_id, span_id = span.context.trace_id, span.context.span_id
            held = self._open.setdefault(trace_id, {})
            if span_id not in held:
                self._open_count += 1
            held[span_id] = span
            if is_local_root(span) or self._under_drawn(trace_id, span):
                ready.setdefault(trace_id, []).append(span_id)
        parts = [part for trace_id, tops in ready.items() for part in self._take(trace_id, tops)]
        while len(self._open) > self._max_traces or self._open_count > self._max_spans:
            _, lost = self._open.popitem(last=False)
            self._open_count -= len(lost)
            self.given_up += len(lost)
        return parts

    def drain(self) -> list[Part]:
        """All that is still held, a part for each trace; nothing is held afterwards."""
        parts = [Part(list(held.values())) for held in self._open.values()]
        self._open.clear()
        self._open_count = 0
        return parts

    def _under_drawn(self, trace_id: int, span: SpanLike) -> bool:
        drawn = self._drawn.get(trace_id)
        return drawn is not None and span.parent is not None and span.parent.span_id in drawn

    def _take(self, trace_id: int, tops: Sequence[int]) -> list[Part]:
        """Take the tops and all under them out of what is held."""
        held = self._open[trace_id]
        children: dict[int, list[int]] = {}
        for span_id, span in held.items():
            if span.parent is not None:
                children.setdefault(span.parent.span_id, []).append(span_id)
        groups: dict[bool, list[SpanLike]] = {}
        for top in tops:
            if top not in held:
                continue  # a late span under another late span went with that one
            late = not is_local_root(held[top])
            waiting = [top]
            while waiting:
                span_id = waiting.pop()
                if span_id not in held:
                    continue
                span = held.pop(span_id)
                self._open_count -= 1
                self._remember(trace_id, span_id)
                groups.setdefault(late, []).append(span)
                waiting.extend(children.get(span_id, ()))
        if not held:
            del self._open[trace_id]
        return [Part(spans, late) for late, spans in groups.items()]

    def _remember(self, trace_id: int, span_id: int) -> None:
        """Keep the id of a drawn span, so that spans which end later find their way; the oldest trace is forgotten."""
        known = self._drawn.setdefault(trace_id, set())
        if span_id not in known:
            known.add(span_id)
            self._drawn_count += 1
        while len(self._drawn) > self._max_traces or self._drawn_count > self._max_spans:
            _, forgotten = self._drawn.popitem(last=False)
            self._drawn_count -= len(forgotten)
