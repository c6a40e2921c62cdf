# pyright: reportIncompatibleMethodOverride=false
# (a slot where upstream has a property: read in the same way, at a fifth of the cost)
"""The lean span: slots, no lock, and its own readable copy.

What several threads may do to one span at a time rests on the GIL: dictionary and deque operations are atomic, and
`finish` has no call between looking whether the span has ended and ending it. A free-threaded build keeps the
containers whole, but two threads that end one span at the same moment may both hand it to the processors there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from time import time_ns
from types import TracebackType
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, Span
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import AnyValue, Attributes

from otel_distro._compat import SpanFields
from otel_distro.redaction.policy import LOOKED_AT

from .attributes import bounded, merge, put
from .context import error_status
from .processors import Processors
from .records import LeanEvent, LeanLink, exception_attributes, is_link

UNSET = Status(StatusCode.UNSET)
"""The status of a span that nobody has given one: this very object."""
_new = object.__new__

_RECORD = 1
_STATUS = 2
RECORD_AND_STATUS = _RECORD | _STATUS


class UnsampledSpan(NonRecordingSpan):
    """A span that only carries its context on, with the calls of `LeanSpan` that instrumentations of ours use."""

    __slots__ = ("context",)

    context: SpanContext

    def get_span_context(self) -> SpanContext:
        """The context, with ids of its own and without the sampled flag."""
        return self.context

    def finish(self, end_time: int | None = None) -> None:
        """Do nothing."""

    def fail(self, error: BaseException) -> None:
        """Do nothing."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.context!r})"


def unsampled_span(context: SpanContext) -> UnsampledSpan:
    """A span that is not recorded, with this context."""
    span = _new(UnsampledSpan)
    span.context = context
    return span


class LeanSpan(SpanFields, Span):
    """A recording span, made by `LeanTracer`, which is its own `ReadableSpan`.

    Attributes:
        name: what the operation is called.
        context: ids, flags and tracestate.
        parent: the parent's context, None for a root.
        kind: its place between caller and called.
        start_time: nanoseconds since the epoch.
        end_time: nanoseconds since the epoch, None while it records.
        attributes: clean values by key. Instrumentations of ours may write to it while the span records, with keys and
            values of the specification's types; `finish` applies the limits.
        status: set under the specification's precedence.
        resource: what produced it.
        instrumentation_scope: whose tracer made it.
        dropped_attributes: how many the limits or unusable keys cost.
        dropped_events: likewise.
        dropped_links: likewise.
    """

    __slots__ = (
        "_on_exception",
        "_own_events",
        "_own_links",
        "_processors",
        "attributes",
        "context",
        "dropped_attributes",
        "dropped_events",
        "dropped_links",
        "end_time",
        "instrumentation_scope",
        "kind",
        "name",
        "parent",
        "resource",
        "start_time",
        "status",
    )

    name: str
    context: SpanContext
    parent: SpanContext | None
    kind: SpanKind
    start_time: int
    end_time: int | None
    attributes: dict[str, AnyValue]
    status: Status
    resource: Resource
    instrumentation_scope: InstrumentationScope
    dropped_attributes: int
    dropped_events: int
    dropped_links: int
    _on_exception: int
    _own_events: deque[Event] | None
    _own_links: deque[Link] | None
    _processors: Processors

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("a span is made by a tracer")

    @property
    def events(self) -> Sequence[Event]:
        """Events so far, oldest first."""
        return () if self._own_events is None else tuple(self._own_events)

    @events.setter
    def events(self, events: Sequence[Event]) -> None:
        # for processors that take something out before export
        self._own_events = deque(events, self._processors.limits.events)

    @property
    def links(self) -> Sequence[Link]:
        """Links so far, oldest first."""
        return () if self._own_links is None else tuple(self._own_links)

    @links.setter
    def links(self, links: Sequence[Link]) -> None:
        self._own_links = deque(links, self._processors.limits.links)

    def get_span_context(self) -> SpanContext:
        """The context, fit to be a parent."""
        return self.context

    def is_recording(self) -> bool:
        """True until the end."""
        return self.end_time is None

    def set_attribute(self, key: str, value: AnyValue) -> None:
        """Set one attribute; an unusable value becomes text, an unusable key is dropped and counted."""
        processors = self._processors
        if self.end_time is not None:
            processors.refused("set_attribute")
            return
        attributes = self.attributes
        limits = processors.limits
        if type(key) is str and key and type(value) in processors.kept and len(attributes) < limits.attributes:
            if key in attributes:
                # a value that is set again counts as the newest: the oldest goes first when there is no room
                del attributes[key]
            attributes[key] = value
            return
        self.dropped_attributes += put(attributes, key, value, limits, processors.guard)

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        """Set several attributes, each as `set_attribute` does."""
        processors = self._processors
        if self.end_time is not None:
            processors.refused("set_attributes")
            return
        limits = processors.limits
        try:
            self.dropped_attributes += merge(
                self.attributes, attributes, limits.attributes, limits.length, processors.guard
            )
        except Exception as error:  # noqa: BLE001 - what was given may be anything, and must not break the user's call
            processors.guard.failed("attributes", error, remedy="attributes must be a mapping of text to values")

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Add an event.

        Args:
            name: what happened.
            attributes: its attributes, under the limits of events.
            timestamp: nanoseconds since the epoch; now when None.
        """
        processors = self._processors
        if self.end_time is not None:
            processors.refused("add_event")
            return
        limits = processors.limits
        kept, dropped = bounded(attributes, limits.event_attributes, limits.other_length, processors.guard)
        events = self._own_events
        if events is None:
            events = self._own_events = deque(maxlen=limits.events)
        if len(events) >= limits.events:
            self.dropped_events += 1
        events.append(LeanEvent(name, kept, time_ns() if timestamp is None else timestamp, dropped))

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Link to another span; an invalid context without attributes and tracestate is ignored."""
        processors = self._processors
        if self.end_time is not None:
            if is_link(context, attributes):
                processors.refused("add_link")
            return
        if not is_link(context, attributes):
            return
        limits = processors.limits
        kept, dropped = bounded(attributes, limits.link_attributes, limits.other_length, processors.guard)
        links = self._own_links
        if links is None:
            links = self._own_links = deque(maxlen=limits.links)
        if len(links) >= limits.links:
            self.dropped_links += 1
        links.append(LeanLink(context, kept, dropped))

    def update_name(self, name: str) -> None:
        """Give the span another name."""
        if self.end_time is not None:
            self._processors.refused("update_name")
            return
        self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status: OK is final, UNSET is ignored (specification, tracing API, "Set Status")."""
        if self.end_time is not None:
            self._processors.refused("set_status")
            return
        given: object = status
        if isinstance(given, Status):
            new, code = given, given.status_code
            if description is not None:
                self._processors.guard.warn(
                    "set_status ignores a description beside a Status; give it to the Status", once="status description"
                )
        elif isinstance(given, StatusCode):
            new, code = None, given
        else:
            return
        if code is StatusCode.UNSET or self.status.status_code is StatusCode.OK:
            return
        self.status = Status(code, description) if new is None else new

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Add the event `exception` (semantic conventions, "Exceptions on spans"); the status stays as it is.

        Args:
            exception: what was raised.
            attributes: further attributes, which win over the event's own.
            timestamp: nanoseconds since the epoch; now when None.
            escaped: whether it left the span.
        """
        if self.end_time is not None:
            self._processors.refused("record_exception")
            return
        on_error = self._processors.on_error
        if on_error is not None:
            on_error(self.context, exception)
        described: dict[str, Any] = exception_attributes(exception, escaped)
        if attributes:
            try:
                described.update(attributes)
            except Exception as error:  # noqa: BLE001 - what was given may be anything
                self._processors.guard.failed("attributes", error, remedy="attributes must be a mapping")
        self.add_event("exception", described, timestamp)

    def fail(self, error: BaseException) -> None:
        """Record `error` as an event and set the status to ERROR, as `use_span` does for one that passes through."""
        if self.end_time is None:
            self.record_exception(error)
            self.set_status(error_status(error))

    def finish(self, end_time: int | None = None) -> None:
        """End the span and hand it to the processors; what they raise stays with the guard.

        Args:
            end_time: nanoseconds since the epoch; now when None.
        """
        processors = self._processors
        if end_time is None:
            # not before its start where the clock was set back: Sentry drops the whole transaction then
            end_time = time_ns()
            if end_time < self.start_time:  # noqa: PLR1730 - a call of `max` in the hot path
                end_time = self.start_time
        # no call stands between these two lines, so under the GIL one of two threads ends the span
        if self.end_time is not None:
            processors.refused("end")
            return
        self.end_time = end_time
        if len(self.attributes) > processors.room:
            self._enforce_limits()
        if not LOOKED_AT.isdisjoint(self.attributes):
            self._redact()
        try:
            processors.ends(self)
        except Exception as error:  # noqa: BLE001 - a third party's processor must not reach the application
            processors.failed(error)

    end = finish

    def _enforce_limits(self) -> None:
        """Bring attributes that were written directly under the limits."""
        limits, given = self._processors.limits, self.attributes
        self.attributes, dropped = bounded(given, limits.attributes, limits.length, self._processors.guard)
        self.dropped_attributes += dropped

    def _redact(self) -> None:
        """Take secrets out of what others tell; see `texts_of_others`."""
        from otel_distro.redaction.others import texts_of_others

        self.attributes = texts_of_others(self.attributes, self.instrumentation_scope.name)

    def set_on_exception(self, *, record: bool, status: bool) -> None:
        """Say what happens to an exception that leaves the span used as a context manager."""
        self._on_exception = (_RECORD if record else 0) | (_STATUS if status else 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the span that was a context manager, after whatever passed through was recorded."""
        if error is not None and self.end_time is None:
            if self._on_exception & _RECORD:
                self.record_exception(error, escaped=True)
            if self._on_exception & _STATUS:
                self.set_status(error_status(error))
        self.finish()

    def __repr__(self) -> str:
        return f'{type(self).__name__}(name="{self.name}", context={self.context})'


def new_span(  # noqa: PLR0917 - keywords would cost what the short way saves
    name: str,
    context: SpanContext,
    parent: SpanContext | None,
    kind: SpanKind,
    start_time: int,
    attributes: dict[str, AnyValue],
    scope: InstrumentationScope,
    processors: Processors,
) -> LeanSpan:
    """A span that records; `attributes` becomes its own."""
    # a constructor would cost twice as much: upstream's __new__ is a Python function
    span = _new(LeanSpan)
    span.name = name
    span.context = context
    span.parent = parent
    span.kind = kind
    span.start_time = start_time
    span.end_time = None
    span.attributes = attributes
    span.status = UNSET
    span.resource = processors.resource
    span.instrumentation_scope = scope
    span.dropped_attributes = 0
    span.dropped_events = 0
    span.dropped_links = 0
    span._own_events = None  # noqa: SLF001 - this is the constructor
    span._own_links = None  # noqa: SLF001 - as above
    span._on_exception = RECORD_AND_STATUS  # noqa: SLF001 - as above
    span._processors = processors  # noqa: SLF001 - as above
    return span


__all__ = [
    "RECORD_AND_STATUS",
    "UNSET",
    "LeanSpan",
    "UnsampledSpan",
    "new_span",
    "unsampled_span",
]
