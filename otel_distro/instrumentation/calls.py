"""What every client instrumentation shares: its scope, the current context, and hooks that cannot do harm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context
from opentelemetry.metrics import Meter, MeterProvider
from opentelemetry.trace import SpanContext, SpanKind, TracerProvider

from otel_distro import _compat
from otel_distro._compat import IS_VALID, SPAN_KEY
from otel_distro._version import __version__
from otel_distro.conventions import SCHEMA_URL
from otel_distro.guard import Guard
from otel_distro.tracing.context import span_context_in

from .binding import Starts, tracing

CLIENT = SpanKind.CLIENT

current = _compat.context_variable().get
"""The current `Context`, for one look at everything in it."""


def tracer_of(provider: TracerProvider, library: str) -> Starts:
    """The tracer of a library's instrumentation."""
    return tracing(provider.get_tracer(f"otel_distro.instrumentation.{library}", __version__, SCHEMA_URL))


def meter_of(provider: MeterProvider, library: str) -> Meter:
    """The meter of a library's instrumentation."""
    return provider.get_meter(f"otel_distro.instrumentation.{library}", __version__, SCHEMA_URL)


def class_name(error: BaseException) -> str:
    """`error.type` of a client's call: the name of the exception's class alone, as contrib writes it.

    A server's has the module as well; see `exception_type`.
    """
    return type(error).__name__


def guarded(guard: Guard, part: str, hook: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """A user's hook whose failure does not reach the call it looks at (contrib #3642); None stays None."""
    if not callable(hook):
        return None

    def call(*arguments: Any) -> Any:
        try:
            return hook(*arguments)
        except Exception as error:  # noqa: BLE001 - the hook is the user's, the call must go on
            guard.failed(part, error, remedy="a hook given to contrib's instrumentor raised")
            return None

    return call


def parent_in(context: Context) -> SpanContext | None:
    """What `span_context_in` gives, without a call for spans that have a field `context`."""
    parent: Any = getattr(context.get(SPAN_KEY), "context", None)
    return parent if parent.__class__ is SpanContext and parent[IS_VALID] else span_context_in(context)
