"""loguru: its sinks on streams write our lines, and its records are sent, whatever the application adds or removes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from otel_distro.guard import Guard

from .fields import Rendered

if TYPE_CHECKING:
    from types import ModuleType

    from .join import Take
    from .lines import Lines

_DEFAULT = 0
"""The id of the handler on stderr that loguru itself adds."""
_OF_TEXT = ("format", "colorize", "serialize", "backtrace", "diagnose")


class LoguruJoin:
    """Stands in for stream sinks, and keeps one sink of its own for records that are sent.

    Args:
        module: loguru.
        put_on: puts the ids of the running code on a record.
        take: gets records to send; None when none are sent.
        lines: the lines of streams; None when they stay the application's.
        guard: gets what fails.
        inside: tells whether the running code handles a record of `logging`, which has been taken already: an
            application may pass those on to loguru.
    """

    def __init__(  # noqa: PLR0917 - what a join needs
        self,
        module: ModuleType,
        put_on: Callable[[logging.LogRecord], Any],
        take: Take | None,
        lines: Lines | None,
        guard: Guard,
        inside: threading.local,
    ) -> None:
        self._logger: Any = module.logger
        self._put_on = put_on
        self._take = take
        self._lines = lines
        self._guard = guard
        self._inside = inside
        self._sending: int | None = None
        self._default: int | None = None
        self._restore: Callable[[], object] | None = None

    def join(self) -> None:
        """Wrap `add` and `remove` of loguru's logger, and take the place of its first handler."""
        kind = type(self._logger)
        add, remove = kind.add, kind.remove

        def joined_add(logger: Any, sink: Any, **options: Any) -> Any:
            writes = self._guard.call("loguru", None, self._stand_in, sink)
            if writes is None:
                return add(logger, sink, **options)
            for name in _OF_TEXT:
                options.pop(name, None)
            return add(logger, writes, format=_nothing, **options)

        def joined_remove(logger: Any, handler_id: int | None = None) -> None:
            if handler_id == _DEFAULT and self._default is not None:
                handler_id, self._default = self._default, None
            remove(logger, handler_id)
            if handler_id is None:
                self._default = None
                self._send(add, logger)

        if self._lines is not None:
            self._guard.call("loguru", None, self._replace_default, add, remove)
        self._send(add, self._logger)
        kind.add, kind.remove = joined_add, joined_remove

        def restore() -> None:
            kind.add, kind.remove = add, remove

        self._restore = restore

    def restore(self) -> None:
        """Give loguru's logger its own back, without any handler of ours."""
        if self._restore is not None:
            self._restore()
            self._restore = None
            for handler in (self._sending, self._default):
                if handler is not None:
                    self._guard.call("loguru", None, self._logger.remove, handler)

    def _replace_default(self, add: Callable[..., int], remove: Callable[..., None]) -> None:
        import sys

        writes = self._stand_in(sys.stderr)
        if writes is not None:
            remove(self._logger, _DEFAULT)
            self._default = add(self._logger, writes, format=_nothing)

    def _send(self, add: Callable[..., int], logger: Any) -> None:
        if self._take is not None:
            self._sending = self._guard.call("loguru", None, add, logger, self._sent, level=0, format=_nothing)

    def _sent(self, message: Any) -> None:
        if self._take is not None and not getattr(self._inside, "handling", False):
            record = _record(message.record)
            self._take(record, self._put_on(record))

    def _stand_in(self, sink: Any) -> Callable[[Any], None] | None:
        lines = self._lines
        if lines is None or not lines.takes(sink):
            return None

        def write(message: Any) -> None:
            record = _record(message.record)
            self._put_on(record)
            lines.write(sink, record)

        return write


def _nothing(record: Any) -> str:
    """A format that costs nothing: the line is made of the record."""
    del record
    return ""


def _record(told: Any) -> logging.LogRecord:
    """A record of `logging` from loguru's."""
    failure = told["exception"]
    exc_info: Any = None
    if failure is not None and failure.value is not None:
        exc_info = (failure.type, failure.value, failure.traceback)
    message = Rendered(told["message"], told["message"], dict(told["extra"]))
    place = told["file"].path, told["line"]
    record = logging.LogRecord(str(told["name"]), told["level"].no, *place, message, None, exc_info, told["function"])
    record.levelname = told["level"].name
    record.created = told["time"].timestamp()
    return record


__all__ = ["LoguruJoin"]
