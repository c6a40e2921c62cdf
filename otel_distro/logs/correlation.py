"""The ids of the running code, put on a record where it is made: a handler may work in another thread, later."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from otel_distro._compat import FLAGS, IS_VALID, SPAN_ID, SPAN_KEY, TRACE_ID, context_variable
from otel_distro.context import current as current_record
from otel_distro.errors import noted

Release = Callable[[logging.Logger, logging.LogRecord, Any], object]
"""`release(logger, record, span context or None)` lets a record go on that was held."""

_current = context_variable().get
_NO_IDS = (None, "0", "0", False)


class Correlation:
    """Puts trace id, span id and service on records, under contrib's names, and what is known about the request.

    Args:
        service: `service.name`.
        contextual: whether `_otel_context` is wanted too.
    """

    __slots__ = ("_contextual", "_last", "_service")

    def __init__(self, service: str, *, contextual: bool) -> None:
        self._service = service
        self._contextual = contextual
        self._last: tuple[Any, str, str, bool] = _NO_IDS

    def put_on(self, record: logging.LogRecord) -> Any:
        """Put them on `record`; returns the current span's context where it is valid, else None."""
        values = record.__dict__
        span: Any = _current().get(SPAN_KEY)
        context = None if span is None else span.get_span_context()
        last = self._last
        if context is None or not context[IS_VALID]:
            if record.exc_info:
                return self._put_noted(record)
            last, context = _NO_IDS, None
        elif last[0] is not context:
            # one request's lines mostly come one after the other
            sampled = bool(context[FLAGS] & 1)
            self._last = last = (context, f"{context[TRACE_ID]:032x}", f"{context[SPAN_ID]:016x}", sampled)
        _, values["otelTraceID"], values["otelSpanID"], values["otelTraceSampled"] = last
        values["otelServiceName"] = self._service
        if self._contextual:
            values["_otel_context"] = current_record()
        return context

    def _put_noted(self, record: logging.LogRecord) -> Any:
        """An ASGI server logs an exception when the request's context is gone; the exception still tells."""
        values = record.__dict__
        told = record.exc_info
        context: Any
        context, known = noted(told[1] if isinstance(told, tuple) and len(told) == 3 else None)
        ids = _NO_IDS
        if context is not None and context[IS_VALID]:
            ids = (context, f"{context[TRACE_ID]:032x}", f"{context[SPAN_ID]:016x}", bool(context[FLAGS] & 1))
        _, values["otelTraceID"], values["otelSpanID"], values["otelTraceSampled"] = ids
        values["otelServiceName"] = self._service
        if self._contextual:
            values["_otel_context"] = current_record() or known
        return context


__all__ = ["Correlation", "Release"]
