"""Traces on a terminal: `TraceTree` draws one, `ConsoleSpanExporter` draws each of a process when it has finished."""

from .exporter import ConsoleSpanExporter
from .spans import SpanLike
from .style import Style, choose_style, width_of
from .tree import TraceTree

__all__ = ["ConsoleSpanExporter", "SpanLike", "Style", "TraceTree", "choose_style", "width_of"]
