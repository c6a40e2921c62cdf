"""A span for each background task: it runs when the server span has ended, and its queries need a parent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from opentelemetry.trace import SpanKind

from otel_distro.context import tell
from otel_distro.guard import Guard
from otel_distro.instrumentation.binding import Starts
from otel_distro.tracing.context import attach_span, current_span_context, detach, error_status

Task = Callable[[Any], Awaitable[None]]


def traced(original: Task, tracer: Starts, guard: Guard) -> Task:
    """`BackgroundTask.__call__` with an internal span named as contrib names it.

    A task of a request without telemetry gets none either.

    Args:
        original: of the class.
        tracer: starts the spans.
        guard: gets a tracer that raises.
    """

    async def __call__(self: Any) -> None:  # noqa: N807 - it stands in for the class's own
        parent = current_span_context()
        if parent is None:
            await original(self)
            return
        name = getattr(self.func, "__name__", type(self.func).__name__)
        span = guard.call(
            "background task", None, tracer.begin, f"BackgroundTask {name}", SpanKind.INTERNAL, parent, {}
        )
        if span is None:
            await original(self)
            return
        token = attach_span(span)
        try:
            await original(self)
        except Exception as error:
            span.record_exception(error)
            span.set_status(error_status(error))
            raise
        finally:
            detach(token, span)
            guard.call("background task", None, tell, span)
            guard.call("background task", None, span.end)

    return __call__
