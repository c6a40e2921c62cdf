"""Database client calls: stable semantic conventions, computed once per connection target and statement.

Source: semantic conventions 1.44, "Database client spans" and "Database client metrics".
"""

from __future__ import annotations

from time import perf_counter, time_ns
from typing import Any, ClassVar

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, Meter
from opentelemetry.trace import Span, SpanContext, StatusCode

from otel_distro._compat import IS_VALID, SPAN_KEY
from otel_distro.context import current_scope
from otel_distro.spent import Spent
from otel_distro.tracing.brief import Briefs, Steps
from otel_distro.tracing.context import end_after

from .binding import NOTHING, Records, Starts, histogram_series
from .calls import CLIENT, class_name, parent_in

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
        batch: several operations in one call.

    Attributes:
        is_statement: whether it is counted as one of SQL.
    """

    is_statement: ClassVar[bool] = True

    __slots__ = ("_briefs", "_duration", "_failures", "_histogram", "_metric_attributes", "attributes", "batch", "name")

    def __init__(self, name: str, attributes: dict[str, Any], histogram: Histogram | None, batch: bool) -> None:
        self.name = name
        self.batch = batch
        self.attributes = attributes
        self._histogram = histogram
        self._metric_attributes = {key: attributes[key] for key in _METRIC_ATTRIBUTES if key in attributes}
        self._briefs: Briefs | None = None
        self._duration: Records | None = None
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

    def end(self, span: Span, started: float) -> None:
        """The call went well.

        Args:
            span: of the call.
            started: by `time.perf_counter`.
        """
        duration = self._duration
        if duration is None:
            duration = self._duration = self._bound()
        seconds = perf_counter() - started
        duration.record(seconds, span)
        end_after(span, seconds)
        scope = current_scope()
        if scope is not None:
            spent = scope.spent or scope.spending()
            if spent is not None:
                self._spend(spent, seconds)

    def ended(self, tracer: Starts, context: Context, started: float) -> None:
        """The call went well, and its span is made now.

        Args:
            tracer: one with `brief`.
            context: in which the call began.
            started: by `time.perf_counter`.
        """
        now, end_time = perf_counter(), time_ns()
        seconds = now - started
        briefs = self._briefs
        if briefs is None or briefs.tracer is not tracer:  # type: ignore[comparison-overlap]  # a lean one is both
            briefs = self._meet(tracer)
        parent: Any = getattr(context.get(SPAN_KEY), "context", None)
        if parent.__class__ is not SpanContext or not parent[IS_VALID]:
            parent = parent_in(context)
        scope = current_scope()
        briefs.ended(parent, scope, end_time - int(seconds * 1e9), end_time, seconds, now)
        if scope is not None:
            spent = scope.spent or scope.spending()
            if spent is None:
                return
            if self.is_statement:
                spent.sql(self, seconds)
            else:
                # as `Spent.redis`, without the call
                spent.redis_calls += 1
                spent.redis_seconds += seconds

    def failed(self, tracer: Starts, context: Context, started: float, error: BaseException, code: str | None) -> None:
        """The call ended with `error`, and its span is made now; see `ended` and `fail`."""
        start_time = time_ns() - int((perf_counter() - started) * 1e9)
        span = tracer.begin(self.name, CLIENT, parent_in(context), self.attributes.copy(), start_time=start_time)
        self.fail(span, started, error, code)

    def _meet(self, tracer: Starts) -> Briefs:
        briefs = self._briefs = self.briefs(tracer)
        return briefs

    def briefs(self, tracer: Starts, counter: Steps | None = None) -> Briefs:
        """What makes the spans of calls that went well and measures them.

        Args:
            tracer: one with `brief`.
            counter: counts them as well.
        """
        duration = self._duration
        if duration is None:
            duration = self._duration = self._bound()
        return tracer.briefs(self.name, CLIENT, self.attributes).measure(duration, counter)

    def _spend(self, spent: Spent, seconds: float) -> None:
        if self.is_statement:
            spent.sql(self, seconds)
        else:
            spent.redis(seconds)

    def _bound(self) -> Records:
        # bound by the first call that goes well: a series of nothing would be exported as well
        return NOTHING if self._histogram is None else histogram_series(self._histogram, self._metric_attributes)

    def fail(self, span: Span, started: float, error: BaseException, status_code: str | None = None) -> None:
        """The call ended with `error`.

        No message and no event: drivers put values into their messages ("Key (email)=(joe@...) already exists").

        Args:
            span: of the call.
            started: by `time.perf_counter`.
            error: the driver's own exception.
            status_code: the database's code for it, where there is one.
        """
        kind = class_name(error)
        seconds = perf_counter() - started
        self.failure(kind, status_code).record(seconds, span)
        if span.is_recording():
            span.set_attribute("error.type", kind)
            if status_code is not None:
                span.set_attribute("db.response.status_code", status_code)
            # a cancelled call is not known to have failed, as of HTTP clients
            if isinstance(error, Exception):
                span.set_status(StatusCode.ERROR)
        end_after(span, seconds)
        scope = current_scope()
        spent = None if scope is None else scope.spending()
        if spent is not None:
            self._spend(spent, seconds)
