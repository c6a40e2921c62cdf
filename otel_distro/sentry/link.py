"""Ties what sentry-sdk sends to the span that failed: by a note on the exception, else by the current span.

The place that catches an exception is rarely the place where its span was current: sentry-sdk's own middlewares are
outside the server span, `sys.excepthook` is outside everything. So whoever records an exception on a span notes the
span on the exception, and the innermost note of a trace stays.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanContext, format_span_id, format_trace_id
from opentelemetry.trace.status import StatusCode

from otel_distro._compat import SPAN_ID, TRACE_ID
from otel_distro.context import Record
from otel_distro.context import current as current_record
from otel_distro.errors import mark, mark_of
from otel_distro.guard import let_through
from otel_distro.tracing.context import current_span_context

NOTE = "__otel_distro_span__"
TOLD = "__otel_distro_told__"
_LONGEST_CHAIN = 10


class Note(NamedTuple):
    """Where an exception was recorded first.

    Attributes:
        trace_id: 128 bits.
        span_id: 64 bits.
        record: whom the code worked for, where that will not be known any more when the event is made.
    """

    trace_id: int
    span_id: int
    record: Record | None = None


def note(context: SpanContext, error: BaseException, record: Record | None = None) -> None:
    """Note on `error` that it left the span of `context`.

    An exception that is raised again in another trace, as constants of a module are, gets a new note.
    """
    known = note_of(error)
    if known is not None and known.trace_id == context[TRACE_ID]:
        if record is not None and known.record is None:
            _write(error, known._replace(record=record))
        return
    _write(error, Note(context[TRACE_ID], context[SPAN_ID], record))


def note_of(error: BaseException | None) -> Note | None:
    """The note on an exception, None where there is none."""
    found = mark_of(error, NOTE)
    return found if type(found) is Note else None


def tell(error: BaseException, trace_id: int) -> None:
    """Note on `error` that an event was made of it in this trace; 0 for none."""
    _write(error, trace_id, TOLD)


def told_in(error: BaseException) -> int | None:
    """The trace in which an event was made of `error` last, None where none was made."""
    found = mark_of(error, TOLD)
    return found if type(found) is int else None


def was_told(error: BaseException) -> bool:
    """Whether what led to `error` was captured in the current trace before `error` was raised in its place."""
    context = current_span_context()
    trace_id = 0 if context is None else context[TRACE_ID]
    reason = _reason(error)
    for _ in range(_LONGEST_CHAIN):
        if reason is None:
            return False
        if mark_of(reason, TOLD) == trace_id:
            return True
        reason = _reason(reason)
    return False


def _reason(error: BaseException) -> BaseException | None:
    # not `or`: an exception may have a length
    return error.__context__ if error.__cause__ is None else error.__cause__


def _write(error: BaseException, written: object, name: str = NOTE) -> None:
    try:
        mark(error, name, written)
    except Exception as raised:  # noqa: BLE001 - the event is then linked by the current span
        let_through(raised)
        return


class Found(NamedTuple):
    """What an event is linked to: the ids as Sentry writes them, and whom the code worked for."""

    trace_id: str
    span_id: str
    record: Record | None


class Link:
    """Finds the span of an event.

    Args:
        fallback: the span of the request that the running thread belongs to, where nothing else is known.
    """

    def __init__(self, fallback: Callable[[], SpanContext | None]) -> None:
        self._fallback = fallback

    def current(self) -> tuple[str, str] | None:
        """Trace and span id of the running code, for sentry-sdk."""
        context = current_span_context()
        return None if context is None else (format_trace_id(context[TRACE_ID]), format_span_id(context[SPAN_ID]))

    def find(self, error: BaseException | None) -> Found | None:
        """The span that an event with this exception belongs to, None where there was none.

        The note counts unless other work goes on meanwhile: then the exception is an old one.
        """
        noted = note_of(_only(error)) or note_of(error)
        context = current_span_context()
        record = current_record()
        if noted is not None and (context is None or context[TRACE_ID] == noted.trace_id):
            return _found(noted.trace_id, noted.span_id, record or noted.record)
        if context is None:
            context = self._fallback()
        return None if context is None else _found(context[TRACE_ID], context[SPAN_ID], record)

    def telemetry(self, item: Any) -> None:
        """Give a Sentry log or metric the ids of the current span; sentry-sdk's own are of spans that nobody sends."""
        context = current_span_context() or self._fallback()
        if context is not None:
            item["trace_id"] = format_trace_id(context[TRACE_ID])
            item["span_id"] = format_span_id(context[SPAN_ID])


class Noting(SpanProcessor):
    """Notes spans of upstream's SDK on the exceptions that end them; our own spans do it when they record one."""

    def on_end(self, span: ReadableSpan) -> None:
        """Note `span` on the exception that is passing through, if it is why the span failed."""
        error = sys.exc_info()[1]
        if error is not None and span.context is not None and span.status.status_code is StatusCode.ERROR:
            note(span.context, error)


def _only(error: BaseException | None) -> BaseException | None:
    """What failed in a group of one: a task of a task group, whose span is the innermost."""
    for _ in range(_LONGEST_CHAIN):
        if not isinstance(error, BaseExceptionGroup) or len(error.exceptions) != 1:
            break
        error = error.exceptions[0]
    return error


def _found(trace_id: int, span_id: int, record: Record | None) -> Found:
    return Found(format_trace_id(trace_id), format_span_id(span_id), record)


__all__ = ["Found", "Link", "Note", "Noting", "note", "note_of", "tell", "told_in", "was_told"]
