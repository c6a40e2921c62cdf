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


class Correlation:
    """Puts trace id, span id and service on records, under contrib's names, and what is known about the request.

    Args:
        service: `service.name`.
        contextual: whether `_otel_context` is wanted too.
    """

    __slots__ = ("_contextual", "_last", "_none", "_service")

    def __init__(self, service: str, *, contextual: bool) -> None:
        self._contextual = contextual
        self._service = service
        self._none: tuple[Any, str, str, bool, str] = (None, "0", "0", False, service)
        # no span's context is this
        self._last: tuple[Any, str, str, bool, str] = (False, "0", "0", False, service)

    def put_on(self, record: logging.LogRecord) -> Any:
        """Put them on `record`; returns the current span's context where it is valid, else None.

        A record of another process that was made inside a trace keeps its ids; then its span's context is returned.
        """
        values = record.__dict__
        if "otelTraceID" in values and self._is_received(values):
            return self._keep(values)
        span: Any = _current().get(SPAN_KEY)
        if span is None:
            if record.exc_info:
                return self._put_noted(record)
            last = self._none
        else:
            context = span.get_span_context()
            last = self._last
            # one request's lines mostly come one after the other
            if last[0] is not context:
                if context is None or not context[IS_VALID]:
                    if record.exc_info:
                        return self._put_noted(record)
                    last = self._none
                else:
                    self._last = last = self._ids(context)
        found, values["otelTraceID"], values["otelSpanID"], values["otelTraceSampled"], values["otelServiceName"] = last
        if self._contextual:
            values["_otel_context"] = current_record()
        return found

    def _ids(self, context: Any) -> tuple[Any, str, str, bool, str]:
        sampled = bool(context[FLAGS] & 1)
        return context, f"{context[TRACE_ID]:032x}", f"{context[SPAN_ID]:016x}", sampled, self._service

    @staticmethod
    def _is_received(values: dict[str, Any]) -> bool:
        from .received import is_received

        return is_received(values)

    def _keep(self, values: dict[str, Any]) -> Any:
        from .received import keep

        return keep(values, self._service, contextual=self._contextual)

    def _put_noted(self, record: logging.LogRecord) -> Any:
        """An ASGI server logs an exception when the request's context is gone; the exception still tells."""
        values = record.__dict__
        told = record.exc_info
        context: Any
        context, known = noted(told[1] if isinstance(told, tuple) and len(told) == 3 else None)
        ids = self._ids(context) if context is not None and context[IS_VALID] else self._none
        _, values["otelTraceID"], values["otelSpanID"], values["otelTraceSampled"], values["otelServiceName"] = ids
        if self._contextual:
            values["_otel_context"] = current_record() or known
        return context


__all__ = ["Correlation", "Release"]
