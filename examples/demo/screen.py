"""What the demo writes: lines, a progress bar on a terminal, and trees."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TextIO

from otel_distro.console import SpanLike, TraceTree, choose_style, width_of
from otel_distro.console.style import BOLD, DIM, RED, showable
from otel_distro.console.text import fit

_BAR_WIDTH = 30


class Screen:
    """Standard output, or any other stream."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._style = choose_style(self._stream, os.environ)
        self._live = self._stream.isatty() and os.environ.get("TERM") != "dumb"

    def say(self, text: str = "") -> None:
        """A line."""
        self._write(text + "\n")

    def heading(self, text: str) -> None:
        """A line that starts a part."""
        self._write("\n" + self._style.paint(text, BOLD) + "\n")

    def quiet(self, text: str) -> None:
        """A line of less weight."""
        self._write(self._style.paint(text, DIM) + "\n")

    def error(self, text: str) -> None:
        """A line about something that is wrong."""
        self._write(self._style.paint(text, RED) + "\n")

    def progress(self, done: int, total: int, text: str) -> None:
        """A bar that is drawn over the last one; in a file only its end is written."""
        bar = self._style.bar(0, done / total, _BAR_WIDTH) if done else " " * _BAR_WIDTH
        if self._live:
            room = width_of(self._stream) - _BAR_WIDTH - 14
            end = "\n" if done == total else ""
            self._write(f"\r  {bar} {done:>3}/{total} {fit(text, max(0, room))}{end}")
        elif done == total:
            self._write(f"  {bar} {done}/{total}\n")

    def tree(self, spans: Iterable[SpanLike]) -> None:
        """A trace."""
        for line in TraceTree(spans).lines(width_of(self._stream), self._style):
            self.say(line)

    def _write(self, text: str) -> None:
        self._stream.write(showable(text, self._stream))
        self._stream.flush()
