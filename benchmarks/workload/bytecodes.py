"""Bytecodes by function: what the interpreter runs for requests that are counted, in this thread and in new ones."""

from __future__ import annotations

import inspect
import json
import os
import sys
import threading
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any


class Bytecodes:
    """Counts when it is told `on`, and writes what it has counted as JSON when it is told `off`.

    Args:
        output: the file: bytecodes by `path function`, a path below `site-packages` without what is before it.
    """

    def __init__(self, output: str) -> None:
        self._output = output
        self._counts: Counter[CodeType] = Counter()

    def __call__(self, what: str) -> None:
        """Count from now on, or no further."""
        if what == "on":
            # those that have been entered already
            frame = inspect.currentframe()
            while frame is not None:
                self._watch(frame)
                frame = frame.f_back
            threading.settrace(self._entered)
            sys.settrace(self._entered)
        else:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]  # as its documentation has it
            self._write()

    def _watch(self, frame: FrameType) -> None:
        frame.f_trace = self._executed
        frame.f_trace_opcodes, frame.f_trace_lines = True, False

    def _entered(self, frame: FrameType, event: str, argument: object) -> Any:
        self._watch(frame)
        return self._executed

    def _executed(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "opcode":
            self._counts[frame.f_code] += 1
        return self._executed

    def _write(self) -> None:
        found: Counter[str] = Counter()
        for code, number in self._counts.items():
            path = code.co_filename.rpartition("site-packages" + os.sep)[2]
            found[f"{path} {code.co_qualname}"] += number
        Path(self._output).write_text(json.dumps(found))
