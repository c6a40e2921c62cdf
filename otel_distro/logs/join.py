"""Where the distro meets `logging`: every record of every logger passes once, wherever its handlers are.

`logging.Logger.callHandlers` is wrapped on the class. A handler on the root logger would turn the application's
`logging.basicConfig()` into nothing, be thrown out by its `dictConfig`, miss loggers that do not propagate and see
others twice; here the application's configuration stays what it is. sentry-sdk works at the same place, and the two
get along.
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
        self._original: Callable[..., None] | None = None

    def hold_back(self, names: frozenset[str], hold: Hold) -> None:
        """Ask `hold` about the records of these loggers; before `join`."""
        self._held, self._hold = names, hold

    def join(self) -> None:
        """Wrap the class's `callHandlers`."""
        original = logging.Logger.callHandlers
        put_on, take, hold, held, guard = self._put_on, self._take, self._hold, self._held, self._guard

        def callHandlers(self: logging.Logger, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
            try:
                context = put_on(record)
                if record.name in held and hold is not None and hold(self, record, context):
                    return
                if take is not None:
                    take(record, context)
            except RecursionError:
                raise
            except Exception as error:  # noqa: BLE001 - the application logs as without us
                guard.failed("log records", error)
            original(self, record)

        self._original = original
        logging.Logger.callHandlers = callHandlers  # type: ignore[method-assign]

    def release(self, logger: logging.Logger, record: logging.LogRecord, context: Any) -> None:
        """Let a record go on that was held; never raises."""
        if self._take is not None:
            self._guard.call("log records", None, self._take, record, context)
        self.pass_on(logger, record)

    def pass_on(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Give a record to the handlers alone, with ids where it has none; never raises."""
        if "otelTraceID" not in record.__dict__:
            self._guard.call("log records", None, self._put_on, record)
        if self._original is not None:
            self._guard.call("log handlers", None, self._original, logger, record)

    def restore(self) -> None:
        """Give the class its own `callHandlers` back."""
        if self._original is not None:
            logging.Logger.callHandlers = self._original  # type: ignore[method-assign]
            self._original = None


__all__ = ["Hold", "Join", "Take"]
