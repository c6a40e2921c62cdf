"""The servers' own access lines, with what only the end of a request tells: route, duration, what it spent.

uvicorn writes its line when the response begins. The record is held until the request is over and goes on then, as the
record that it is: through the handlers, levels and filters that the server's logging has. So there is one line a
request, and none where the server was told to write none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from otel_distro.context import current_scope
from otel_distro.redaction import redact_url

from .correlation import Release

UVICORN = "uvicorn.access"
GUNICORN = "gunicorn.access"
LOGGERS = frozenset({UVICORN, GUNICORN, "hypercorn.access", "granian.access", "_granian.access"})

_LONGEST_PATH = 2_048


class Access:
    """Completes access records.

    Args:
        release: lets a held record go on.
    """

    def __init__(self, release: Release) -> None:
        self._release = release

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
        exchange = None if scope is None else getattr(scope, "request", None) or scope
        hold: Callable[[Callable[..., object]], bool] | None = getattr(exchange, "hold", None)
        return hold is not None and hold(partial(self._complete, logger, record, context))

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


__all__ = ["LOGGERS", "Access"]
