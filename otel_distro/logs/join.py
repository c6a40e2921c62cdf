"""Where the distro meets `logging`: every record of every logger passes once, wherever its handlers are.

`logging.Logger.filter`, the last that is asked before the handlers, is wrapped on the class. A handler on the root
logger would turn the application's `logging.basicConfig()` into nothing, be thrown out by its `dictConfig`, miss
loggers that do not propagate and see others twice; here the application's configuration stays what it is. And nothing
of ours is on the stack while handlers work: some look there for the line that logged (the handler with which loguru's
documentation takes over `logging`, structlog's `CallsiteParameterAdder`), and would take ours for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from otel_distro.guard import Guard

Take = Callable[[logging.LogRecord, Any], None]
"""`take(record, span context or None)`."""
Hold = Callable[[logging.Logger, logging.LogRecord, Any], bool]
"""`hold(logger, record, span context or None)`: whether the record waits for something and will be released."""


class Join:
    """Puts ids on records and hands them on, until `restore`.

    Args:
        put_on: puts the ids of the running code on a record; gives the span's context.
        take: gets every record besides its handlers; None when nobody wants them.
        guard: gets what fails.
    """

    def __init__(self, *, put_on: Callable[[logging.LogRecord], Any], take: Take | None, guard: Guard) -> None:
        self._put_on = put_on
        self._take = take
        self._guard = guard
        self._held: frozenset[str] = frozenset()
        self._hold: Hold | None = None
        self._original: Callable[..., Any] | None = None
        self._handlers: Callable[..., None] = logging.Logger.callHandlers

    def hold_back(self, names: frozenset[str], hold: Hold) -> None:
        """Ask `hold` about the records of these loggers; before `join`."""
        self._held, self._hold = names, hold

    def join(self) -> None:
        """Wrap the class's `filter`."""
        original = logging.Logger.filter
        put_on, take, hold, held, guard = self._put_on, self._take, self._hold, self._held, self._guard

        def filter(self: logging.Logger, record: logging.LogRecord) -> Any:  # noqa: A001 - logging's name
            kept: Any = original(self, record)
            if not kept:
                return kept
            told: logging.LogRecord = record
            if kept is not True and kept is not record and isinstance(kept, logging.LogRecord):
                told = kept  # from Python 3.12 on a filter may put another record in its place
            try:
                context = put_on(told)
                if told.name in held and hold is not None and hold(self, told, context):
                    return False
                if take is not None:
                    take(told, context)
            except RecursionError:
                raise
            except Exception as error:  # noqa: BLE001 - the application logs as without us
                guard.failed("log records", error)
            return kept

        self._original = original
        self._handlers = logging.Logger.callHandlers
        logging.Logger.filter = filter  # type: ignore[method-assign,assignment]

    def release(self, logger: logging.Logger, record: logging.LogRecord, context: Any) -> None:
        """Let a record go on that was held; never raises."""
        if self._take is not None:
            self._guard.call("log records", None, self._take, record, context)
        # also to those who stand in for handlers since, such as sentry-sdk
        self._guard.call("log handlers", None, logger.callHandlers, record)

    def pass_on(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Give a record to the handlers alone, with ids where it has none; never raises."""
        if "otelTraceID" not in record.__dict__:
            self._guard.call("log records", None, self._put_on, record)
        if self._original is not None:
            self._guard.call("log handlers", None, self._handlers, logger, record)

    def restore(self) -> None:
        """Give the class its own `filter` back."""
        if self._original is not None:
            logging.Logger.filter = self._original  # type: ignore[method-assign]
            self._original = None


__all__ = ["Hold", "Join", "Take"]
