"""What a `logging.LogRecord` holds besides what `logging` itself puts there: the fields of `extra`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Self

from otel_distro.bounded import Memo
from otel_distro.guard import LOGGER_NAME, let_through
from otel_distro.redaction import REDACTED, is_secret_attribute, redact_message

from .values import LONGEST, field, plain, text

TRACE_ID = "otelTraceID"
SPAN_ID = "otelSpanID"
SAMPLED = "otelTraceSampled"
SERVICE = "otelServiceName"
CONTEXT = "_otel_context"
"""Attributes that correlation puts on a record; the first four have contrib's names, so that formats know them, the
last is nobody's: JSON formatters of others leave out what begins with an underscore."""

CORRELATION = 5
"""How many these are."""

_LATER = ("message", "asctime", TRACE_ID, SPAN_ID, SAMPLED, SERVICE, CONTEXT, "taskName", "color_message")
STANDARD = frozenset((*vars(logging.makeLogRecord({})), *_LATER))
"""Attributes of records that are no `extra`."""

STANDARD_COUNT = len(vars(logging.makeLogRecord({})))
"""How many attributes `logging` itself puts on a record."""
MOST_FIELDS = 128
"""Most fields of one record; further ones are left out."""
_USUAL = 1 << 63
_MOST_LOOKED_AT = 2 * MOST_FIELDS
_MOST_COMBINATIONS = 1024
_LONGEST_NAMES = 4_096  # characters of one of them


def stays(logger: str) -> bool:
    """Whether records of this logger are never sent.

    What the distro and OpenTelemetry say of themselves stays on lines: a queue that is full or a collector that is away
    must not make records about it. Loggers below `otel_distro` speak of the application: slow requests, captures.
    """
    return logger[:1] == "o" and (logger == LOGGER_NAME or logger.partition(".")[0] == "opentelemetry")


class Rendered(str):
    """A message that another logging library rendered, together with what it was rendered from.

    Args:
        rendered: the text, for handlers whose lines are the application's.
        event: the message alone.
        fields: the rest.
    """

    __slots__ = ("event", "fields")

    event: str
    fields: dict[str, Any]

    def __new__(cls, rendered: str, event: str, fields: dict[str, Any]) -> Self:
        self = super().__new__(cls, rendered)
        self.event = event
        self.fields = fields
        return self

    def __getnewargs__(self) -> tuple[str, str, dict[str, Any]]:  # type: ignore[override]
        """How a copy is made, for handlers that send records to another process."""
        return str(self), self.event, self.fields


_TOLD = frozenset({"event", "level", "logger", "logger_name", "timestamp", "exc_info", "exception", "stack"})
"""Fields of structlog's events that their record tells by itself."""
_OF_STRUCTLOG = "_logger"
"""An attribute of records whose message is an event of structlog's, put there by its `wrap_for_formatter`."""


def rest_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an event of structlog's without what its record tells by itself."""
    rest = {name: value for name, value in fields.items() if name not in _TOLD and type(name) is str}
    if "exception" in fields:
        rest["exception.stacktrace"] = fields["exception"]
    return rest


def event_of(record: logging.LogRecord) -> tuple[str, dict[str, Any]] | None:
    """Message and fields of an event that structlog leaves to a formatter; None for any other record."""
    message: Any = record.msg
    if message.__class__ is not dict or _OF_STRUCTLOG not in record.__dict__:
        return None
    return str(message.get("event", "")), rest_of(message)


_EVENT_KEYS = ("event", "message", "msg")
_EVENT_NAMES = ("otel.event.name", "event.name")


def is_value(record: logging.LogRecord) -> bool:
    """Whether the message is no text and no event's fields, but a value of its own: a map, a list, a number, None.

    Source: upstream's handler (opentelemetry-python #4216), which makes such a message the body as it is.
    """
    message: object = record.msg
    if record.args or isinstance(message, str):
        return False
    if isinstance(message, dict):
        return all(type(message.get(key)) is not str for key in (*_EVENT_KEYS, *_EVENT_NAMES))
    # a class of the application's, by `setLogRecordFactory`, may put messages together in its own way
    usual = record.__class__ is logging.LogRecord
    return usual and (message is None or isinstance(message, (list, tuple, int, float, bytes)))


def message_of(record: logging.LogRecord) -> str:
    """The record's message, redacted; where its arguments do not fit, its format and their plain values."""
    message = record.msg
    # a class of the application's, by `setLogRecordFactory`, may put messages together in its own way
    if message.__class__ is str and record.__class__ is logging.LogRecord:
        try:
            if record.args:
                message = message % record.args
            if len(message) > LONGEST:
                return text(message)
            return redact_message(message, ours=record.name == LOGGER_NAME)
        except RecursionError:
            raise
        except Exception as error:  # noqa: BLE001 - logging.info("%d", "x") is worth a line, and never worth a request
            let_through(error)
            return text(f"{record.msg} {plain(record.args)} ({type(error).__name__} in formatting)")
    return text(_formatted(record))


def _formatted(record: logging.LogRecord) -> str:
    message: object = record.msg
    if type(message) is Rendered:
        return message.event
    if isinstance(message, dict):
        for key in (*_EVENT_KEYS, *_EVENT_NAMES):
            found = message.get(key)
            if type(found) is str:
                return found
        return str(plain(message))
    try:
        return record.getMessage()
    except RecursionError:
        raise
    except Exception as error:  # noqa: BLE001 - an object of the application's may refuse to be a text
        let_through(error)
        told = f"{plain(message)} {plain(record.args)}" if record.args else plain(message)
        return f"{told} ({type(error).__name__} in formatting)"


def names_of(values: dict[str, Any]) -> tuple[str, ...]:
    """Names of `extra` in a record's `__dict__`; those that begin with an underscore are a library's own.

    `logging` sets its own attributes first, unless the record's class is unusual.
    """
    # a copy: another thread's handler may add to the record meanwhile
    names = tuple(values)
    if names[0] == "name":
        # names of correlation are anywhere: an `extra` may have brought some of them
        names = names[STANDARD_COUNT:]
    return _KEPT[names if len(names) <= _MOST_LOOKED_AT else names[:_MOST_LOOKED_AT]]


def _kept(names: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple([name for name in names if name not in STANDARD and isinstance(name, str) and name[:1] != "_"])


def _length(names: tuple[Any, ...]) -> int:
    return sum([len(name) for name in names if isinstance(name, str)])


# an application logs few combinations of fields
_KEPT = Memo(_kept, most=_MOST_COMBINATIONS, heaviest=_LONGEST_NAMES, weigh=_length)


def extras_of(record: logging.LogRecord, found: dict[str, Any] | None = None, *, merged: bool = True) -> dict[str, Any]:
    """The fields of `extra` as plain data, and those of a message that is a dict; at most 128.

    Args:
        record: of `logging`.
        found: where they are put; a dict of their own if None.
        merged: False to leave those of a message out.
    """
    if found is None:
        found = {}
    values = record.__dict__
    for name in names_of(values):
        value = values[name]
        if is_secret_attribute(name):
            found[name] = None if value is None else REDACTED
        elif value.__class__ is str and len(value) <= LONGEST:
            found[name] = redact_message(value)
        elif value.__class__ is int and -_USUAL < value < _USUAL:
            found[name] = value
        else:
            found[name] = plain(value)
        if len(found) >= MOST_FIELDS:
            break
    message: object = record.msg
    if message.__class__ is not str and merged:
        if type(message) is Rendered:
            message = message.fields
        if isinstance(message, dict):
            _merge(found, rest_of(message) if _OF_STRUCTLOG in values else message)
    return found


def _merge(found: dict[str, Any], message: dict[Any, Any]) -> None:
    shown = next((key for key in _EVENT_KEYS if type(message.get(key)) is str), None)
    for key, value in list(message.items())[:MOST_FIELDS]:
        if type(key) is str and key != shown and key[:1] != "_" and len(found) < MOST_FIELDS:
            found.setdefault(key, field(key, value))


__all__ = [
    "CONTEXT",
    "CORRELATION",
    "MOST_FIELDS",
    "SAMPLED",
    "SERVICE",
    "SPAN_ID",
    "STANDARD",
    "STANDARD_COUNT",
    "TRACE_ID",
    "Rendered",
    "event_of",
    "extras_of",
    "is_value",
    "message_of",
    "names_of",
    "rest_of",
    "stays",
]
