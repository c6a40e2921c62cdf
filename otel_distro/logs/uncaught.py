"""Exceptions that nobody has caught, as JSON lines like every other: Python itself prints them as text.

Only in place of Python's own hooks: an application, or a library, that has its own keeps it, and one that sets its own
later replaces ours, as it would replace Python's. The exit code is Python's.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from otel_distro.guard import Guard

from .join import Take
from .json_lines import JsonLines
from .lines import Formats, Lines

_MAIN, _THREAD = "sys.excepthook", "threading.excepthook"
"""Names of the loggers that the lines tell; there are none of these names."""


class Uncaught:
    """Takes the place of `sys.excepthook` and `threading.excepthook` where they are Python's own, until `restore`.

    Args:
        lines: write on stderr.
        formats_for: the form of lines for a stream; only where it is JSON anything changes.
        put_on: puts ids on a record; the exception tells which request or operation it left.
        take: gets every record, to send it; None when records are not sent.
        guard: gets what fails; then Python's own hook prints the exception.
    """

    def __init__(
        self,
        lines: Lines,
        formats_for: Callable[[Any], Formats | None],
        put_on: Callable[[logging.LogRecord], Any],
        take: Take | None,
        guard: Guard,
    ) -> None:
        self._lines = lines
        self._formats_for = formats_for
        self._put_on = put_on
        self._take = take
        self._guard = guard

    def watch(self) -> None:
        """Replace the two hooks."""
        if sys.excepthook is sys.__excepthook__:
            sys.excepthook = self.main
        if threading.excepthook is threading.__excepthook__:
            threading.excepthook = self.thread

    def restore(self) -> None:
        """Give Python its own hooks back, unless somebody else has put theirs there."""
        # a bound method is a new object each time, and equal
        if sys.excepthook == self.main:
            sys.excepthook = sys.__excepthook__
        if threading.excepthook == self.thread:
            threading.excepthook = threading.__excepthook__

    def main(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """See `sys.excepthook`."""
        if not self._told(_MAIN, "uncaught exception", (kind, error, trace)):
            sys.__excepthook__(kind, error, trace)

    def thread(self, args: threading.ExceptHookArgs) -> None:
        """See `threading.excepthook`."""
        error = args.exc_value
        if error is None or isinstance(error, SystemExit):
            return  # a thread may end itself so, and Python says nothing either
        name = "a thread" if args.thread is None else args.thread.name
        if not self._told(_THREAD, f"uncaught exception in {name}", (args.exc_type, error, args.exc_traceback)):
            threading.__excepthook__(args)

    def _told(
        self, name: str, text: str, told: tuple[type[BaseException], BaseException, TracebackType | None]
    ) -> bool:
        try:
            stream = sys.stderr
            if not isinstance(self._formats_for(stream), JsonLines):
                return False
            record = logging.LogRecord(name, logging.CRITICAL, "", 0, text, None, told)
            context = self._put_on(record)
            if self._take is not None:
                self._guard.call("log records", None, self._take, record, context)
            return self._lines.write(stream, record)
        except Exception as problem:  # noqa: BLE001 - the exception must be told, by whomever
            self._guard.failed("uncaught exceptions", problem, remedy="Python prints them as text")
            return False


__all__ = ["Uncaught"]
