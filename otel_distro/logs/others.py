"""The log record processors of others: called in order with one record of upstream's, flushed and ended with ours."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_distro.guard import Guard
from otel_distro.process import Deadline

from .records import LeanLogRecord

if TYPE_CHECKING:
    from opentelemetry._logs import SeverityNumber
    from opentelemetry.sdk._logs import LogRecordProcessor


class OtherProcessor:
    """One processor, guarded.

    Args:
        processor: as it was added.
        guard: gets what it raises.

    Attributes:
        part: its name for the guard.
    """

    def __init__(self, processor: LogRecordProcessor, guard: Guard) -> None:
        self._processor = processor
        self._guard = guard
        self._ended = False
        self.part = f"log record processor {type(processor).__name__}"

    def on_emit(self, record: Any) -> None:
        """Hand on a `ReadWriteLogRecord`; never raises."""
        if not self._ended:
            self._guard.call(self.part, None, self._processor.on_emit, record)

    def enabled(self, **asked: Any) -> bool:
        """Whether it wants such a record; True where it fails or does not say."""
        enabled = getattr(self._processor, "enabled", None)
        return enabled is None or self._guard.call(self.part, True, enabled, **asked) is not False

    def flush(self, seconds: float) -> bool:
        """Have it send what waits within `seconds`; False where it says that this was not done."""
        if self._ended:
            return False
        return self._guard.call(self.part, False, self._processor.force_flush, int(seconds * 1000)) is not False

    def end(self, seconds: float) -> None:
        """Have it send what waits, and shut it down, once; `seconds` is what the flush is told."""
        if self._ended:
            return
        self.flush(seconds)
        self._ended = True
        self._guard.call(self.part, None, self._processor.shutdown)


class OtherProcessors:
    """All of them, in the order in which they were added.

    Args:
        guard: gets what they raise.
        most_attributes: of a record.
        longest: characters of an attribute's text; None for any.
    """

    def __init__(self, guard: Guard, *, most_attributes: int, longest: int | None) -> None:
        from opentelemetry.sdk._logs import LogRecordLimits

        self._guard = guard
        self._limits = LogRecordLimits(
            max_log_record_attributes=most_attributes, max_log_record_attribute_length=longest
        )
        self._all: tuple[OtherProcessor, ...] = ()
        self._busy = threading.local()

    def add(self, processor: LogRecordProcessor) -> OtherProcessor:
        """Call `processor` as well, after those that are there."""
        added = OtherProcessor(processor, self._guard)
        self._all = (*self._all, added)
        return added

    def emit(self, record: LeanLogRecord, context: Context | None = None) -> None:
        """Hand a record to each; never raises.

        What one of them changes the next ones see (specification, logs SDK, "OnEmit"). What they log themselves
        meanwhile does not come to them again: it would never end.

        Args:
            record: of ours.
            context: that the record was emitted with; the current one if None.
        """
        busy = self._busy
        if getattr(busy, "with_one", False):
            self._guard.warn(
                "what a log record processor logs is not given to the processors again",
                once="log records of processors",
            )
            return
        busy.with_one = True
        try:
            made = self._guard.call("log record processors", None, self._writable, record, context)
            if made is not None:
                for processor in self._all:
                    processor.on_emit(made)
        finally:
            busy.with_one = False

    def enabled(
        self,
        context: Context | None,
        scope: InstrumentationScope,
        severity_number: SeverityNumber | None,
        event_name: str | None,
    ) -> bool:
        """Whether any of them wants such a record."""
        asked = {
            "context": context,
            "instrumentation_scope": scope,
            "severity_number": severity_number,
            "event_name": event_name,
        }
        return any(each.enabled(**asked) for each in self._all)

    def flush(self, seconds: float) -> bool:
        """Have each send what waits, within `seconds` altogether; False where one did not."""
        deadline = Deadline(seconds)
        answers = [each.flush(deadline.left()) for each in self._all]
        return all(answers)

    def end(self, seconds: float) -> None:
        """Flush and shut down each, one after the other."""
        deadline = Deadline(seconds)
        for each in self._all:
            each.end(deadline.left())

    def _writable(self, record: LeanLogRecord, context: Context | None) -> Any:
        from opentelemetry.sdk._logs import ReadWriteLogRecord

        made = record.readable().log_record
        if context is not None:
            made.context = context
        return ReadWriteLogRecord(made, record.resource, record.instrumentation_scope, self._limits)


__all__ = ["OtherProcessor", "OtherProcessors"]
