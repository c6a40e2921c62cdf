"""loguru: its sinks on streams write our lines, and its records are sent, whatever the application adds or removes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import TYPE_CHECKING, Any

from otel_distro.guard import Guard

from .fields import Rendered

if TYPE_CHECKING:
    from types import ModuleType

    from .join import Take
    from .lines import Lines

_DEFAULT = 0
"""The id of the handler on stderr that loguru itself adds."""
_OF_TEXT = ("format", "colorize", "serialize", "backtrace", "diagnose", "enqueue")
_NEAR = 16
"""Frames between a sink and the handler of `logging` that passes a record on to loguru, at most."""


class LoguruJoin:
    """Stands in for stream sinks, and keeps one sink of its own for records that are sent.

    Args:
        module: loguru.
        put_on: puts the ids of the running code on a record.
        take: gets records to send; None when none are sent.
        lines: the lines of streams; None when they stay the application's.
        guard: gets what fails.

    Attributes:
        logger: loguru's.
    """

    def __init__(
        self,
        module: ModuleType,
        put_on: Callable[[logging.LogRecord], Any],
        take: Take | None,
        lines: Lines | None,
        guard: Guard,
    ) -> None:
        self.logger: Any = module.logger
        self._put_on = put_on
        self._take = take
        self._lines = lines
        self._guard = guard
        self._sending: int | None = None
        self._default: int | None = None
        self._restore: Callable[[], object] | None = None

    def join(self) -> None:
        """Wrap `add` and `remove` of loguru's logger, and take the place of its first handler."""
        kind = type(self.logger)
        add, remove = kind.add, kind.remove

        @wraps(add)
        def joined_add(logger: Any, sink: Any, **options: Any) -> Any:
            writes = self._guard.call("loguru", None, self._stand_in, sink)
            if writes is None:
                return add(logger, sink, **options)
            for name in _OF_TEXT:
                options.pop(name, None)
            return _add(add, logger, writes, **options)

        @wraps(remove)
        def joined_remove(logger: Any, handler_id: int | None = None) -> None:
            if handler_id == _DEFAULT and self._default is not None:
                handler_id, self._default = self._default, None
            remove(logger, handler_id)
            if handler_id is None:
                self._default = None
                self._send(add, logger)

        if self._lines is not None:
            self._guard.call("loguru", None, self._replace_default, add, remove)
        self._send(add, self.logger)
        # where a sink that comes from another process finds them
        joined_add.joins = (*getattr(add, "joins", ()), self)  # type: ignore[attr-defined]
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
                    self._guard.call("loguru", None, self.logger.remove, handler)

    def _replace_default(self, add: Callable[..., int], remove: Callable[..., None]) -> None:
        writes = self._stand_in(sys.stderr)
        if writes is not None:
            try:
                remove(self.logger, _DEFAULT)
            except ValueError:
                return  # LOGURU_AUTOINIT=False
            self._default = _add(add, self.logger, writes)

    def _send(self, add: Callable[..., int], logger: Any) -> None:
        if self._take is not None:
            self._sending = self._guard.call("loguru", None, _add, add, logger, _Sink(self), level=0)

    def _stand_in(self, stream: Any) -> _Sink | None:
        return _Sink(self, stream) if self._lines is not None and self._lines.takes(stream) else None

    def tell(self, told: Any, stream: Any) -> None:
        """Write the line of a record of loguru's, or send it.

        Args:
            told: loguru's own.
            stream: of the line; None to send.
        """
        if stream is not None:
            if self._lines is not None:
                record = _record(told)
                self._put_on(record)
                self._lines.write(stream, record)
        elif self._take is not None and not _passed_on():
            record = _record(told)
            self._take(record, self._put_on(record))


class _Sink:
    """A sink that may be copied with its logger, and sent to another process with it.

    Args:
        join: whose it is.
        stream: of lines; None where records are sent.
    """

    __slots__ = ("_join", "_stream")

    def __init__(self, join: LoguruJoin, stream: Any = None) -> None:
        self._join = join
        self._stream = stream

    def __call__(self, message: Any) -> None:
        self._join.tell(message.record, self._stream)

    def __deepcopy__(self, _: Any) -> _Sink:
        return self

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[int, str | None]]:
        place = getattr(type(self._join.logger).add, "joins", ()).index(self._join)
        if self._stream is None:
            return _here, (place, None)
        return _here, (place, "stdout" if self._stream in {sys.stdout, sys.__stdout__} else "stderr")


def _here(place: int, stream: str | None) -> Callable[[Any], None]:
    """What stands in this process for a sink of another one."""
    import loguru

    joins = getattr(type(loguru.logger).add, "joins", ())
    return _Sink(joins[place], stream and getattr(sys, stream)) if place < len(joins) else _nowhere


def _nowhere(message: Any) -> None:
    del message


def _add(add: Callable[..., int], logger: Any, sink: _Sink, **options: Any) -> int:
    """Add a sink of ours: called in the thread that logs, whose ids it tells, and without any text.

    For the text of an exception loguru would call the `repr` of every variable in every frame.
    """
    return add(logger, sink, format=_nothing, backtrace=False, diagnose=False, enqueue=False, **options)


def _passed_on() -> bool:
    """Whether a handler of `logging` passes its record on to loguru: that has been taken already."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - documented
    for _ in range(_NEAR):
        if frame is None:
            break
        if frame.f_globals.get("__name__") == "logging":
            return True
        frame = frame.f_back
    return False


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
