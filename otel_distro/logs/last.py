"""Handlers for records that no handler of the application's takes."""

from __future__ import annotations

import logging
import sys
from typing import Any

from otel_distro.guard import shows


class LastLines(logging.StreamHandler[Any]):
    """`logging.lastResort` for every level, on the stream that was asked for.

    Args:
        stream: `stdout` or `stderr`; what stands there when a line is written counts.
    """

    def __init__(self, stream: str) -> None:
        logging.Handler.__init__(self)
        self._name_of_stream = stream

    @property
    def stream(self) -> Any:
        """The stream as it is now, which an application may have replaced."""
        return getattr(sys, self._name_of_stream)

    @stream.setter
    def stream(self, value: Any) -> None:
        """Nothing: `logging` has no reason to set it."""


class OwnLines(LastLines):
    """Writes what the distro says of itself, where the root logger has no handler that does."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless it goes on to a handler of the application's."""
        if not shows(logging.root):
            super().emit(record)


__all__ = ["LastLines", "OwnLines"]
