"""The servers' own access lines, with what only the end of a request tells: route, duration, what it spent.

uvicorn writes its line when the response begins. The record is held until the request is over and goes on then, as the
record that it is: through the handlers, levels and filters that the server's logging has. So there is one line a
request, and none where the server was told to write none. gunicorn's own ASGI worker and granian write theirs when the
application has returned, and are told the request that it returned from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from otel_distro.context import current_scope, reset_scope, set_scope
from otel_distro.redaction import redact_url
from otel_distro.tracing.context import attach_span, detach

from .correlation import Release

UVICORN = "uvicorn.access"
GUNICORN = "gunicorn.access"
LOGGERS = frozenset({UVICORN, GUNICORN, "hypercorn.access", "granian.access", "_granian.access"})
AFTERWARDS = ("gunicorn.asgi.protocol", "granian.asgi")
"""Modules of servers that write the line when the application has returned."""

_LONGEST_PATH = 2_048


class Access:
    """Completes access records.

    Args:
        release: lets a held record go on.
        put_on: puts the ids of the running code on a record; gives the span's context.

    Attributes:
        last: gives the request that the task has just served, a `RequestScope` that can `tell` its end; None where no
            server asks for it. Set by who knows the instrumentation.
    """

    def __init__(self, release: Release, put_on: Callable[[logging.LogRecord], Any]) -> None:
        self._release = release
        self._put_on = put_on
        self.last: Callable[[], Any] | None = None

    def hold(self, logger: logging.Logger, record: logging.LogRecord, context: Any) -> bool:
        """Put on the record what it tells as fields; True when it waits for the end of its request.

        Args:
            logger: that was called.
            record: of an access log.
            context: of the current span, None where there is none.
        """
        values = record.__dict__
        values.update(_of_gunicorn(record) if record.name == GUNICORN else _of_uvicorn(record))
        scope: Any = current_scope()
        if scope is None and self.last is not None:
            left = self.last()
            return left is not None and self._tell_late(logger, record, left)
        exchange = None if scope is None else getattr(scope, "request", None) or scope
        hold: Callable[[Callable[..., object]], bool] | None = getattr(exchange, "hold", None)
        return hold is not None and hold(partial(self._complete, logger, record, context))

    def _tell_late(self, logger: logging.Logger, record: logging.LogRecord, left: Any) -> bool:
        """As if the record had been made within the request that has just ended."""
        span = left.server_span
        token = None if span is None else attach_span(span)
        opened = set_scope(left)
        try:
            left.tell(partial(self._complete, logger, record, self._put_on(record)))
        finally:
            reset_scope(opened)
            if token is not None:
                detach(token)
        return True

    def _complete(
        self,
        logger: logging.Logger,
        record: logging.LogRecord,
        context: Any,
        *,
        seconds: float,
        route: str | None,
        spent: Mapping[str, int | float],
    ) -> None:
        values = record.__dict__
        if route is not None:
            values["http.route"] = route
        values["duration_ms"] = round(seconds * 1000, 3)
        values.update(spent)
        if "_otel_context" in values:
            # set_user() comes before the response, but also while it is streamed
            scope = current_scope()
            values["_otel_context"] = None if scope is None else scope.record or scope.recorded()
        self._release(logger, record, context)


def _of_uvicorn(record: logging.LogRecord) -> dict[str, Any]:
    """Fields of `'%s - "%s %s HTTP/%s" %d'` and its arguments; the query goes through the redaction."""
    args = record.args
    if not isinstance(args, tuple) or len(args) != 5:
        return {}
    client, method, path, version, status = args
    shown = redact_url(str(path)[:_LONGEST_PATH])
    return {
        "client.address": str(client).rpartition(":")[0] or str(client),
        "http.request.method": str(method),
        "url.path": shown.partition("?")[0],
        "network.protocol.version": str(version),
        "http.response.status_code": status,
    }


def _of_gunicorn(record: logging.LogRecord) -> dict[str, Any]:
    """Fields of gunicorn's atoms, which hold every header as well; only these are looked at."""
    atoms = record.args
    if not isinstance(atoms, Mapping):
        return {}
    fields: dict[str, Any] = {
        "client.address": atoms.get("h"),
        "http.request.method": atoms.get("m"),
        "url.path": str(atoms.get("U") or "")[:_LONGEST_PATH],
    }
    status, micros = str(atoms.get("s") or ""), atoms.get("D")
    if status.isdigit():
        fields["http.response.status_code"] = int(status)
    if isinstance(micros, (int, float)):
        fields["duration_ms"] = micros / 1000
    return {name: value for name, value in fields.items() if value}


__all__ = ["AFTERWARDS", "LOGGERS", "Access"]
