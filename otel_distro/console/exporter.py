"""The exporter `console`: each finished trace of this process as a tree on the terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import TextIO

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_distro.guard import let_through

from .holding import Holding, Part
from .style import Style, showable, width_of
from .tree import TraceTree


class ConsoleSpanExporter(SpanExporter):
    """Draws a trace when its local root has ended, and again what ends after that.

    Spans are held until then, within bounds: the oldest trace is given up, counted, and mentioned.

    Args:
        stream: where to write; standard error when None, because another program may read what this one says on
            standard output.
        style: colours and characters, see `choose_style`.
        width: columns; None asks the terminal at each drawing, for it may be resized.
        max_traces: traces held and remembered.
        max_spans: spans held, over all traces.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        style: Style | None = None,
        width: int | None = None,
        max_traces: int = 100,
        max_spans: int = 10_000,
    ) -> None:
        self._stream = stream
        self._style = style or Style()
        self._width = width
        self._holding = Holding(max_traces, max_spans)
        self._said_given_up = 0
        self._closed = False
        self._lock = threading.Lock()

    @property
    def given_up(self) -> int:
        """Spans that were never drawn, because more were waiting than may be held."""
        return self._holding.given_up

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Draw the traces that these spans finish; FAILURE when the stream cannot be written, or after shutdown."""
        with self._lock:
            if self._closed:
                return SpanExportResult.FAILURE
            return self._draw(self._holding.add(spans))

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing to do: what can be drawn was drawn in `export`."""
        return True

    def shutdown(self) -> None:
        """Draw what still waits for a local root that never ended."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._draw(self._holding.drain(), note="unfinished")

    def after_fork(self) -> None:
        """A child starts with a lock that no vanished thread holds, and without its parent's spans."""
        self._lock = threading.Lock()
        self._holding.drain()

    def _draw(self, parts: Sequence[Part], note: str = "") -> SpanExportResult:
        stream = self._stream or sys.stderr
        if stream is None:  # a process without standard error
            return SpanExportResult.FAILURE
        lines = [line for part in parts for line in self._lines(part, note, stream)]
        if (given_up := self._holding.given_up) != self._said_given_up:
            self._said_given_up = given_up
            lines.append(f"{given_up:,} spans given up so far: too many waited for the end of their trace\n")
        try:
            if lines:
                stream.write(showable("\n".join(lines), stream))
                stream.flush()
        except (OSError, ValueError) as error:  # a reader that went away, a closed file
            let_through(error)
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def _lines(self, part: Part, note: str, stream: TextIO) -> list[str]:
        tree = TraceTree(part.spans, note="ended later" if part.late else note)
        return [*tree.lines(self._width or width_of(stream), self._style), ""]
