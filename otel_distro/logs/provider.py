"""The OpenTelemetry logs API on top of our queue: FastAPI's log events and whoever else emits records by it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from time import time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import Logger, LoggerProvider, LogRecord, SeverityNumber
from opentelemetry.context import Context, get_current
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.util.types import AnyValue, Attributes

from otel_distro.guard import Guard
from otel_distro.process import Deadline, in_forked_child
from otel_distro.tracing.context import span_context_in

from .records import LeanLogRecord, limited

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import LogRecordProcessor

    from .others import OtherProcessor, OtherProcessors

Sink = Callable[[LeanLogRecord], object]


class LeanLoggerProvider(LoggerProvider):
    """A logger provider without upstream's processors in between; those of others can be added.

    Args:
        resource: of this process.
        resource_for_child: gives the resource of a forked child.
        sinks: each gets every record; they may not raise.
        guard: gets what goes wrong with a record.
        most_attributes: of a record; further ones are left out and counted.
        longest: characters of an attribute's text, bytes of its bytes; None for any, within the bound of a record.

    Attributes:
        resource: what every record carries; replaced in a forked child.
        flushes: send what waits within the seconds they are given.
        others: the processors of others; None as long as there are none.
        on_first: called with what takes records for `others`, when the first of them is added.
        on_added: called with each of them when it is added.
    """

    def __init__(
        self,
        *,
        resource: Resource,
        resource_for_child: Callable[[Resource], Resource],
        sinks: tuple[Sink, ...],
        guard: Guard,
        most_attributes: int = 128,
        longest: int | None = None,
    ) -> None:
        self.most_attributes = most_attributes
        self.longest = longest
        self.resource = resource
        self.sinks = sinks
        self.guard = guard
        self._resource_for_child = resource_for_child
        self._adding = threading.Lock()
        self.flushes: tuple[Callable[[float], object], ...] = ()
        self.others: OtherProcessors | None = None
        self.on_first: Callable[[Sink], object] | None = None
        self.on_added: Callable[[OtherProcessor], object] | None = None
        in_forked_child(self._after_fork, guard.failed)

    def _after_fork(self) -> None:
        self._adding = threading.Lock()
        self.resource = self._resource_for_child(self.resource)

    def get_logger(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> Logger:
        """A logger of this scope; as cheap to ask for as to keep."""
        return LeanLogger(self, InstrumentationScope(name, version, schema_url, attributes))

    def add_log_record_processor(self, log_record_processor: LogRecordProcessor) -> None:
        """Call a processor of others as well, with upstream's own records, also with those of `logging`."""
        with self._adding:
            others = self.others
            if others is None:
                from .others import OtherProcessors

                others = OtherProcessors(self.guard, most_attributes=self.most_attributes, longest=self.longest)
                if self.on_first is not None:
                    self.on_first(others.emit)
            added = others.add(log_record_processor)
            self.others = others
        if self.on_added is not None:
            self.on_added(added)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what waits; False where that was not done in time."""
        deadline = Deadline(timeout_millis / 1000)
        answers = [flush(deadline.left()) for flush in self.flushes]
        if self.others is not None:
            answers.append(self.others.flush(deadline.left()))
        return all(answer is not False for answer in answers)

    def shutdown(self) -> None:
        """End the processors of others; the distro's own queue ends with the process."""
        if self.others is not None:
            self.others.end(_SHUTDOWN)


_SHUTDOWN = 30.0
"""Seconds for the processors of others where nobody says how long (upstream's own default)."""


class LeanLogger(Logger):
    """Emits records of one scope.

    Args:
        provider: that made it.
        scope: its name, version, schema and attributes.
    """

    def __init__(self, provider: LeanLoggerProvider, scope: InstrumentationScope) -> None:
        super().__init__(scope.name, scope.version, scope.schema_url, scope.attributes)
        self._provider = provider
        self._scope = scope

    def enabled(
        self,
        *,
        context: Context | None = None,
        severity_number: SeverityNumber | None = None,
        event_name: str | None = None,
    ) -> bool:
        """Whether anybody takes records; processors of others are asked."""
        provider = self._provider
        if provider.sinks or provider.others is None:
            return bool(provider.sinks)
        return provider.others.enabled(context, self._scope, severity_number, event_name)

    def emit(
        self,
        record: LogRecord | None = None,
        *,
        timestamp: int | None = None,
        observed_timestamp: int | None = None,
        context: Context | None = None,
        severity_number: SeverityNumber | None = None,
        severity_text: str | None = None,
        body: AnyValue | None = None,
        attributes: Attributes = None,
        event_name: str | None = None,
        exception: BaseException | None = None,
    ) -> None:
        """Hand a record on; never raises."""
        try:
            if record is not None:
                made = self._of_record(record)
            else:
                made = self._made(
                    timestamp,
                    observed_timestamp,
                    span_context_in(get_current() if context is None else context),
                    (severity_number, severity_text, body, event_name),
                    attributes,
                    exception,
                )
            provider = self._provider
            for sink in provider.sinks:
                sink(made)
            if provider.others is not None:
                provider.others.emit(made, getattr(record, "context", None) if context is None else context)
        except Exception as error:  # noqa: BLE001 - the specification: no exception reaches the application
            self._provider.guard.failed("log records of the OpenTelemetry API", error)

    def _of_record(self, record: LogRecord) -> LeanLogRecord:
        # upstream's SDK records hold the API's record within
        record = getattr(record, "log_record", record)
        made = self._made(
            record.timestamp,
            record.observed_timestamp,
            None,
            (record.severity_number, record.severity_text, record.body, record.event_name),
            record.attributes,
            record.exception,
        )
        made.trace_id, made.span_id = record.trace_id or 0, record.span_id or 0
        made.trace_flags = int(record.trace_flags or 0)
        return made

    def _made(  # noqa: PLR0917 - upstream's fields
        self,
        timestamp: int | None,
        observed_timestamp: int | None,
        span: Any,
        told: tuple[SeverityNumber | None, str | None, Any, str | None],
        attributes: Mapping[str, Any] | None,
        exception: BaseException | None,
    ) -> LeanLogRecord:
        from .any_values import TOO_LARGE, AnyValues

        severity_number, severity_text, body, event_name = told
        provider, values = self._provider, AnyValues()
        body = values.body(body)
        held, dropped = values.attributes(attributes or {})
        if values.full:
            provider.guard.failed("log records of the OpenTelemetry API", TOO_LARGE)
        if exception is not None:
            from .exceptions import attributes_of

            # what the caller said of the exception wins (specification, logs API, "Emit a LogRecord")
            held = {**attributes_of(exception), **held}
        if len(held) > provider.most_attributes or provider.longest is not None:
            held, more = limited(held, provider.most_attributes, provider.longest)
            dropped += more
        return LeanLogRecord(
            timestamp=timestamp or 0,
            observed_timestamp=observed_timestamp or time_ns(),
            severity_number=severity_number,
            severity_text=severity_text,
            body=body,
            attributes=held,
            span=span,
            resource=provider.resource,
            instrumentation_scope=self._scope,
            event_name=event_name,
            dropped_attributes=dropped,
        )


__all__ = ["LeanLogger", "LeanLoggerProvider", "Sink"]
