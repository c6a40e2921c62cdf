"""A log record as a person at a terminal wants it: time, level, logger, message, fields, and the stack trace below."""

from __future__ import annotations

import logging
from time import localtime, strftime
from typing import TYPE_CHECKING, Any

from otel_distro.console.style import Style
from otel_distro.console.text import clean

from .fields import CONTEXT, TRACE_ID, extras_of, message_of
from .json_lines import context_fields
from .values import text

if TYPE_CHECKING:
    from otel_distro.context import Record

_COLOURS = (
    (logging.CRITICAL, ("1", "31")),
    (logging.ERROR, ("31",)),
    (logging.WARNING, ("33",)),
    (logging.INFO, ("32",)),
)
_DIM = "2"
_TRACE_SHOWN = 8  # characters of the trace id: enough to tell the requests of a terminal apart
_LONGEST_LINES = 200  # of a message or stack trace


class ConsoleLines:
    """Formats records; stands in for a `logging.Formatter`.

    Args:
        style: with colour or without.
    """

    def __init__(self, style: Style) -> None:
        self._style = style

    def format(self, record: logging.LogRecord) -> str:
        """One line, and those of the message and the stack trace; control characters do not reach the terminal."""
        paint = self._style.paint
        clock = f"{strftime('%H:%M:%S', localtime(record.created))}.{int(record.msecs):03d}"
        level = paint(f"{clean(record.levelname):<8}", *_colour(record.levelno))
        first, *more = message_of(record).split("\n")[:_LONGEST_LINES] or [""]
        parts = [paint(clock, _DIM), level, paint(clean(record.name), "36"), clean(first)]
        parts += [paint(f"{clean(name)}={_value(value)}", _DIM) for name, value in self._fields(record).items()]
        return "\n".join([" ".join(parts), *[f"    {clean(line)}" for line in [*more, *_below(record)]]])

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        values = record.__dict__
        context: Record | None = values.get(CONTEXT)
        fields = extras_of(record)
        trace_id = values.get(TRACE_ID, "0")
        if trace_id != "0":
            fields["trace"] = trace_id[:_TRACE_SHOWN]
        if context is not None:
            known = context_fields(context)
            if known.get("request_id") == trace_id:
                del known["request_id"]  # one of ours is the trace id
            fields = {**known, **fields}
        return fields


def _colour(level: int) -> tuple[str, ...]:
    return next((codes for least, codes in _COLOURS if level >= least), (_DIM,))


def _value(value: object) -> str:
    return clean(value if type(value) is str else repr(value))


def _below(record: logging.LogRecord) -> list[str]:
    from .exceptions import error_of, stack_text

    error = error_of(record.exc_info)
    below = stack_text(error) if error is not None else text(str(record.exc_text or ""))
    if record.stack_info:
        below = f"{below}\n{text(str(record.stack_info))}"
    return below.strip("\n").split("\n")[-_LONGEST_LINES:] if below else []


__all__ = ["ConsoleLines"]
