"""structlog: its events get ids, fields and a line like any other record, whatever its last processor renders.

The application's processors run as configured, so its filters and its own redaction count. Only the text that the last
one makes is replaced, where the stream's lines are ours; a `logging.Logger` behind structlog gets that text together
with the fields it was made of.
"""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from otel_distro.guard import Guard
from otel_distro.standing_in import standing_in

from .fields import Rendered, rest_of

if TYPE_CHECKING:
    from types import ModuleType

    from .join import Take
    from .lines import Lines

_STRUCTURED = frozenset({"wrap_for_formatter", "render_to_log_kwargs", "render_to_log_args_and_kwargs"})
"""Last processors that hand their fields to `logging` as they are."""
_LEVELS = {"warn": logging.WARNING, "exception": logging.ERROR, "msg": logging.INFO, "fatal": logging.CRITICAL}


class StructlogJoin:
    """Stands between structlog's processors and the logger behind them.

    Args:
        module: structlog.
        put_on: puts the ids of the running code on a record.
        take: gets records to send; None when none are sent.
        lines: the lines of streams; None when they stay the application's.
        guard: gets what fails.
    """

    def __init__(
        self,
        module: ModuleType,
        put_on: Callable[[logging.LogRecord], Any],
        take: Take | None,
        lines: Lines | None,
        guard: Guard,
    ) -> None:
        self._structlog: Any = module
        self._put_on = put_on
        self._take = take
        self._lines = lines
        self._guard = guard
        self._restore: Callable[[], None] | None = None

    def join(self) -> None:
        """Wrap `BoundLoggerBase._process_event`, which structlog documents for those who extend it."""
        base = self._structlog.BoundLoggerBase
        original = base._process_event  # noqa: SLF001 - documented for those who extend it
        drop = self._structlog.DropEvent

        def process(logger: Any, method_name: str, event: str | None, event_kw: dict[str, Any]) -> Any:
            processors = logger._processors  # noqa: SLF001 - as above
            if not processors or getattr(processors[-1], "__name__", "") in _STRUCTURED:
                return original(logger, method_name, event, event_kw)
            seen: list[dict[str, Any]] = []

            def look(_: Any, __: str, event_dict: Any) -> Any:
                if isinstance(event_dict, dict):
                    seen.append(dict(event_dict))
                return event_dict

            twin = copy.copy(logger)
            twin._processors = [*processors[:-1], look, processors[-1]]  # noqa: SLF001
            args, kwargs = original(twin, method_name, event, event_kw)
            written = False
            if seen:
                done = self._guard.call("structlog", (args, False), self._seen, logger, method_name, seen[-1], args)
                args, written = done
            if written:
                raise drop
            return args, kwargs

        # processors look for the line that logged in the first frame outside of structlog
        base._process_event = standing_in(original, process)  # noqa: SLF001
        self._restore = lambda: setattr(base, "_process_event", original)

    def restore(self) -> None:
        """Give structlog its own back."""
        if self._restore is not None:
            self._restore()
            self._restore = None

    def _seen(self, logger: Any, method_name: str, fields: dict[str, Any], args: Any) -> tuple[Any, bool]:
        """What the logger behind is called with, and whether the line is written already."""
        behind = logger._logger  # noqa: SLF001
        if isinstance(behind, logging.Logger):
            if args and type(args[0]) is str:
                args = (Rendered(args[0], _event(fields), rest_of(fields)), *args[1:])
            return args, False
        record = _record(method_name, fields)
        context = self._put_on(record)
        if self._take is not None:
            self._take(record, context)
        stream = getattr(behind, "_file", None)
        stream = getattr(stream, "raw", None) and sys.stdout if stream is getattr(sys.stdout, "buffer", ...) else stream
        return args, self._lines is not None and stream is not None and self._lines.write(stream, record)


def _event(fields: Mapping[str, Any]) -> str:
    event = fields.get("event", "")
    return event if type(event) is str else str(event)


def _record(method_name: str, fields: dict[str, Any]) -> logging.LogRecord:
    """A record of `logging` with these fields."""
    level = _LEVELS.get(method_name) or logging.getLevelNamesMapping().get(method_name.upper(), logging.INFO)
    name = fields.get("logger") or fields.get("logger_name") or "structlog"
    exc_info = fields.get("exc_info")
    if isinstance(exc_info, BaseException):
        exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
    elif exc_info and not isinstance(exc_info, tuple):
        exc_info = sys.exc_info()
    told: Any = exc_info if isinstance(exc_info, tuple) and exc_info[0] is not None else None
    rest = rest_of(fields)
    rest.pop("exception.stacktrace", None)
    record = logging.LogRecord(str(name), level, "", 0, Rendered("", _event(fields), rest), None, told)
    if "exception" in fields:
        record.exc_text = str(fields["exception"])
    if "stack" in fields:
        record.stack_info = str(fields["stack"])
    return record


__all__ = ["StructlogJoin"]
