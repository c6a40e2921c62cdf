"""Database client calls: stable semantic conventions, computed once per connection target and statement.

Source: semantic conventions 1.44, "Database client spans" and "Database client metrics".
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any, TypeVar

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, Meter
from opentelemetry.trace import Span, StatusCode

from otel_distro._compat import SUPPRESS_KEY
from otel_distro.tracing.context import span_context_in

from .binding import NOTHING, Records, Starts, histogram_series
from .calls import CLIENT, error_type

# Databases answer faster than HTTP servers; these are the boundaries the semantic conventions advise.
DURATION_BOUNDARIES = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)

_METRIC_ATTRIBUTES = (
    "db.system.name",
    "db.namespace",
    "db.operation.name",
    "db.collection.name",
    "db.query.summary",
    "server.address",
    "server.port",
)
"""What `db.client.operation.duration` is told; `db.query.text` is of too many values."""


def duration_histogram(meter: Meter) -> Histogram:
    """`db.client.operation.duration`, in seconds."""
    return meter.create_histogram(
        "db.client.operation.duration",
        unit="s",
        description="Duration of database client operations.",
        explicit_bucket_boundaries_advisory=DURATION_BOUNDARIES,
    )


class Operation:
    """One kind of call to one target: everything about it that does not change from call to call.

    Args:
        name: of the span.
        attributes: of the span; copied for each.
        histogram: `db.client.operation.duration`; None where somebody else measures it.
    """

    __slots__ = ("_failures", "_histogram", "_metric_attributes", "attributes", "duration", "name")

    def __init__(self, name: str, attributes: dict[str, Any], histogram: Histogram | None) -> None:
        self.name = name
        self.attributes = attributes
        self._histogram = histogram
        self._metric_attributes = {key: attributes[key] for key in _METRIC_ATTRIBUTES if key in attributes}
        self.duration: Records = NOTHING if histogram is None else histogram_series(histogram, self._metric_attributes)
        self._failures: dict[tuple[str, str | None], Records] = {}

    def failure(self, kind: str, status_code: str | None) -> Records:
        """The series of calls that ended with this `error.type` and `db.response.status_code`."""
        if self._histogram is None:
            return NOTHING
        series = self._failures.get((kind, status_code))
        if series is None:
            attributes: dict[str, Any] = {**self._metric_attributes, "error.type": kind}
            if status_code is not None:
                attributes["db.response.status_code"] = status_code
            # kinds are classes and codes of the driver: few
            series = self._failures[kind, status_code] = histogram_series(self._histogram, attributes)
        return series


class Running:
    """A call that has begun and not ended.

    Attributes:
        span: of the call.
        operation: what it is.
    """

    __slots__ = ("operation", "span", "started")

    def __init__(self, span: Span, operation: Operation) -> None:
        self.span = span
        self.operation = operation
        self.started = perf_counter()

    def end(self) -> None:
        """The call went well."""
        span = self.span
        self.operation.duration.record(perf_counter() - self.started, span)
        span.end()

    def fail(self, error: BaseException, status_code: str | None = None) -> None:
        """The call ended with `error`.

        No message and no event: drivers put values into their messages ("Key (email)=(joe@...) already exists").

        Args:
            error: the driver's own exception.
            status_code: the database's code for it, where there is one.
        """
        span = self.span
        kind = error_type(error)
        self.operation.failure(kind, status_code).record(perf_counter() - self.started, span)
        if span.is_recording():
            span.set_attribute("error.type", kind)
            if status_code is not None:
                span.set_attribute("db.response.status_code", status_code)
            span.set_status(StatusCode.ERROR)
        span.end()


R = TypeVar("R", bound=Running)


class DatabaseCalls:
    """Begins calls of one library.

    Args:
        tracer: starts spans.
    """

    __slots__ = ("_begin",)

    def __init__(self, tracer: Starts) -> None:
        self._begin = tracer.begin

    def use(self, tracer: Starts) -> None:
        """Start spans with another tracer from now on."""
        self._begin = tracer.begin

    def start(self, operation: Operation, context: Context, running: type[R]) -> R:
        """Begin a call.

        Args:
            operation: what it is.
            context: the current one, which holds the parent.
            running: what to make of it.
        """
        parent = span_context_in(context) if context else None
        return running(self._begin(operation.name, CLIENT, parent, operation.attributes.copy()), operation)


def suppressed(context: Mapping[str, Any]) -> bool:
    """Whether the context asks for no telemetry."""
    return bool(context.get(SUPPRESS_KEY) or context.get("suppress_instrumentation"))


__all__ = ["DatabaseCalls", "Operation", "Running", "duration_histogram", "suppressed"]
