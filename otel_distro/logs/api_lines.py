"""Lines of records that were emitted by the OpenTelemetry API: FastAPI's log events, an application's own."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .fields import STANDARD
from .values import plain

if TYPE_CHECKING:
    from .join import Join
    from .records import LeanLogRecord


class ApiLines:
    """Gives such records to the handlers of the logger that is called like their scope.

    Args:
        join: passes records on to handlers.
    """

    def __init__(self, join: Join) -> None:
        self._join = join

    def write(self, record: LeanLogRecord) -> None:
        """Write a line, unless the record is about an exception: the server logs that, with its stack trace."""
        if "exception.type" in record.attributes:
            return
        scope = record.instrumentation_scope
        severity = record.severity_number
        level = logging.INFO if severity is None else _level(severity.value)
        logger = logging.getLogger(scope.name)
        if not logger.isEnabledFor(level):
            return
        body = (
            record.body if isinstance(record.body, (str, dict)) else "" if record.body is None else _text(record.body)
        )
        line = logger.makeRecord(scope.name, level, "", 0, body or record.event_name or "", (), None)
        if record.event_name:
            line.__dict__["event.name"] = record.event_name
        for name, value in record.attributes.items():
            if name not in STANDARD:
                line.__dict__[name] = value
        self._join.pass_on(logger, line)


def _text(body: Any) -> str:
    """A list, a number or bytes as far as a line has room for them."""
    return str(plain(body))


def _level(severity: int) -> int:
    """A level of `logging` from a severity number: 9 is INFO, 17 is ERROR, 21 is CRITICAL."""
    return max(1, (severity - 1) // 4 * 10)


__all__ = ["ApiLines"]
