"""A log record on its way to an exporter: a fraction of upstream's, behind the same public names."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_distro._compat import FLAGS, SPAN_ID, TRACE_ID
from otel_distro.guard import Guard

from .fields import CONTEXT, CORRELATION, STANDARD_COUNT, extras_of, is_value, message_of
from .values import text

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord

_USUAL = STANDARD_COUNT + CORRELATION
_SEVERITIES = tuple(SeverityNumber(number) for number in range(25))
_TEXTS = {"WARNING": "WARN", "CRITICAL": "FATAL"}


def severity_of(level: int) -> SeverityNumber:
    """The severity of a level of `logging`: 10 is DEBUG, 11 DEBUG2, 50 FATAL (log data model, "SeverityNumber")."""
    if level <= 0:
        return SeverityNumber.UNSPECIFIED
    tens, ones = divmod(level, 10)
    return _SEVERITIES[24 if tens > 5 else 1 + tens * 4 + min(ones, 3)]


def severity_text_of(level_name: str) -> str:
    """The severity's name as OpenTelemetry has it: WARN and FATAL where Python says WARNING and CRITICAL.

    Source: the SDK's own handler (opentelemetry-python #3548, #4984): the short names of the data model's table.
    """
    return _TEXTS.get(level_name, level_name)


class LeanLogRecord:
    """A record as an exporter reads it; stands in for upstream's `ReadableLogRecord` and for the `LogRecord` within.

    Attributes:
        timestamp: nanoseconds since the epoch, 0 when it is not known.
        observed_timestamp: likewise.
        severity_number: of the data model.
        severity_text: the level's name.
        body: the message, mostly text.
        attributes: plain data or what the OpenTelemetry API was given.
        dropped_attributes: how many found no room.
        trace_id: 0 outside a trace.
        span_id: likewise.
        trace_flags: of the span.
        event_name: of an event, else None.
        resource: of the process.
        instrumentation_scope: the logger's name.
        context: what the queue asks a span for, answered as a sampled one does.
    """

    __slots__ = (
        "attributes",
        "body",
        "dropped_attributes",
        "event_name",
        "instrumentation_scope",
        "observed_timestamp",
        "resource",
        "severity_number",
        "severity_text",
        "span_id",
        "timestamp",
        "trace_flags",
        "trace_id",
    )

    context = (0, 0, False, 1)

    def __init__(  # noqa: PLR0917 - made for each record, and names of arguments cost
        self,
        timestamp: int,
        observed_timestamp: int,
        severity_number: SeverityNumber | None,
        severity_text: str | None,
        body: Any,
        attributes: Mapping[str, Any],
        span: Any,
        resource: Resource,
        instrumentation_scope: InstrumentationScope,
        event_name: str | None = None,
        dropped_attributes: int = 0,
    ) -> None:
        self.timestamp = timestamp
        self.observed_timestamp = observed_timestamp
        self.severity_number = severity_number
        self.severity_text = severity_text
        self.body = body
        self.attributes = attributes
        self.dropped_attributes = dropped_attributes
        self.event_name = event_name
        self.resource = resource
        self.instrumentation_scope = instrumentation_scope
        if span is None:
            self.trace_id = self.span_id = self.trace_flags = 0
        else:
            self.trace_id, self.span_id, self.trace_flags = span[TRACE_ID], span[SPAN_ID], span[FLAGS]

    @property
    def log_record(self) -> LeanLogRecord:
        """The record itself: upstream keeps resource and scope in an object around it."""
        return self

    def readable(self) -> ReadableLogRecord:
        """The same as upstream's own, for exporters and processors of others, without what our encoder hides."""
        from opentelemetry._logs import LogRecord
        from opentelemetry.sdk._logs import ReadableLogRecord

        from otel_distro.otlp._values import shown

        record = LogRecord(
            timestamp=self.timestamp or None,
            observed_timestamp=self.observed_timestamp,
            severity_text=self.severity_text,
            severity_number=self.severity_number,
            body=self.body,
            attributes={name: shown(name, value) for name, value in self.attributes.items()},
            event_name=self.event_name,
        )
        record.trace_id, record.span_id = self.trace_id, self.span_id
        record.trace_flags = self.trace_flags  # type: ignore[assignment]  # an int, as a span's context may have it
        return ReadableLogRecord(record, self.resource, self.instrumentation_scope)


class Translator:
    """Makes records of `logging` records.

    Args:
        least: level below which a record is left out.
        code: whether file, line and function go with it.
        most_attributes: further ones are left out and counted.
        longest: characters of an attribute's text; None for the bound that all log text has.
        guard: counts messages that are values of their own and too large.

    Attributes:
        least: as above.
        most_attributes: as above.
        scopes: by the logger's name, as far as they are known.
    """

    def __init__(
        self,
        *,
        least: int = 0,
        code: bool = False,
        most_attributes: int = 128,
        longest: int | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._guard = guard
        self.least = least
        self._code = code
        self.most_attributes = most_attributes
        self._longest = longest
        self.scopes: dict[str, InstrumentationScope] = {}
        self._levels: dict[tuple[int, str], tuple[SeverityNumber, str]] = {}

    @property
    def is_plain(self) -> bool:
        """Whether nothing is added to records or cut off them, so that `logs.direct` may take them."""
        return not self._code and self._longest is None

    def scope(self, name: str) -> InstrumentationScope:
        """The scope of a logger."""
        scope = self.scopes.get(name)
        if scope is None:
            if len(self.scopes) >= 1_024:
                self.scopes.clear()
            scope = self.scopes[name] = InstrumentationScope(name)
        return scope

    def translate(self, record: logging.LogRecord, span: Any, resource: Resource) -> LeanLogRecord:
        """The record that leaves; everything mutable is read now.

        Args:
            record: of `logging`.
            span: the current span's context, None outside a trace.
            resource: of this process.
        """
        values = record.__dict__
        context = values.get(CONTEXT)
        attributes: dict[str, Any] = dict(context.attributes) if context is not None else {}
        event_name = None
        value = record.msg.__class__ is not str
        if value or len(values) > (_USUAL if CONTEXT in values else STANDARD_COUNT):
            value = value and is_value(record)
            extras_of(record, attributes, merged=not value)
            event_name = attributes.pop("otel.event.name", None) or attributes.pop("event.name", None)
        if record.exc_info or record.exc_text:
            attributes.update(_exception_of(record))
        if self._code:
            attributes["code.file.path"] = record.pathname
            attributes["code.function.name"] = record.funcName
            attributes["code.line.number"] = record.lineno
        dropped = 0
        if len(attributes) > self.most_attributes or self._longest is not None:
            attributes, dropped = limited(attributes, self.most_attributes, self._longest)
        created = int(record.created * 1e9)
        number, name = self.level(record.levelno, record.levelname)
        scope = self.scopes.get(record.name) or self.scope(record.name)
        body = self._value(record.msg) if value else message_of(record)
        return LeanLogRecord(
            created, created, number, name, body, attributes, span, resource, scope, event_name, dropped
        )

    def _value(self, message: object) -> Any:
        from .any_values import TOO_LARGE, AnyValues

        values = AnyValues()
        body = values.body(message)
        if values.full and self._guard is not None:
            self._guard.failed("log records", TOO_LARGE)
        return body

    def level(self, number: int, name: str) -> tuple[SeverityNumber, str]:
        """Severity and its text for a level of `logging`."""
        level = number, name
        known = self._levels.get(level)
        if known is not None:
            return known
        known = severity_of(number), severity_text_of(name)
        if len(self._levels) < _LEVELS_KEPT:
            self._levels[level] = known
        return known


def limited(attributes: Mapping[str, Any], most: int, longest: int | None) -> tuple[dict[str, Any], int]:
    """The first `most` attributes with their texts cut at `longest`, and how many found no room.

    Source: specification, "Attribute Limits": bytes are cut like text, also inside lists and mappings.
    """
    kept = dict(islice(attributes.items(), most))
    if longest is not None:
        kept = {name: _cut(value, longest) for name, value in kept.items()}
    return kept, len(attributes) - len(kept)


def _cut(value: Any, longest: int) -> Any:
    if isinstance(value, (str, bytes)):
        return value[:longest]
    if isinstance(value, dict):
        return {name: _cut(item, longest) for name, item in value.items()}
    return [_cut(item, longest) for item in value] if isinstance(value, (list, tuple)) else value


def _exception_of(record: logging.LogRecord) -> Mapping[str, str]:
    from .exceptions import attributes_of, error_of

    error = error_of(record.exc_info)
    if error is not None:
        return attributes_of(error)
    return {"exception.stacktrace": text(str(record.exc_text))} if record.exc_text else {}


_LEVELS_KEPT = 64

__all__ = ["LeanLogRecord", "Translator", "limited", "severity_of", "severity_text_of"]
