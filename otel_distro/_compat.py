"""Every private name of OpenTelemetry's packages that the distro relies on, in one place.

Written against opentelemetry 1.45.1; `tests/unit/test_compat.py` has a contract test for each name here, so that a
release that moves one of them turns a test red and not a service.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry import baggage as baggage_api
from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationInfo, InstrumentationScope
from opentelemetry.trace import propagation as trace_propagation
from opentelemetry.util._importlib_metadata import entry_points

SPAN_KEY: str = trace_propagation._SPAN_KEY
"""The key of the current span in a `Context`; made unique at import, so it cannot be spelled out."""

BAGGAGE_KEY: str = baggage_api._BAGGAGE_KEY
"""The key of the baggage in a `Context`; made unique at import as well."""

SUPPRESS_KEY: str = context_api._SUPPRESS_INSTRUMENTATION_KEY
"""A true value under this key in the current `Context` means: make no telemetry."""

SUPPRESS_HTTP_KEY: str = context_api._SUPPRESS_HTTP_INSTRUMENTATION_KEY
"""The same for HTTP clients alone: the layer above makes the span."""

OLD_SUPPRESS_KEY: Final = "suppress_instrumentation"
"""What `SUPPRESS_KEY` was before it had a constant; some libraries still use it."""

SUPPRESS_ALL: Mapping[str, bool] = {SUPPRESS_KEY: True, SUPPRESS_HTTP_KEY: True, OLD_SUPPRESS_KEY: True}
"""What a thread that exports telemetry puts into its context."""

# A SpanContext is a tuple: an index costs a third of the property, building it without its constructor half
TRACE_ID: Final = 0
SPAN_ID: Final = 1
IS_REMOTE: Final = 2
FLAGS: Final = 3
STATE: Final = 4
IS_VALID: Final = 5

new_span_context = cast("Any", tuple.__new__)
"""`new_span_context(SpanContext, (trace_id, span_id, is_remote, trace_flags, trace_state, is_valid))`, unchecked."""


if TYPE_CHECKING:
    from typing import Protocol

    class ContextVariable(Protocol):
        """The part of `contextvars.ContextVar` that keeps the current `Context`."""

        def get(self) -> Context: ...

        def set(self, value: Context, /) -> Token[Context]: ...

        def reset(self, token: Token[Context], /) -> None: ...


class _ForeignRuntime:
    """A runtime context chosen by `OTEL_PYTHON_CONTEXT`, behind the same three methods."""

    __slots__ = ("get", "reset", "set")

    def __init__(self) -> None:
        runtime = context_api._RUNTIME_CONTEXT
        self.get = runtime.get_current
        self.set = runtime.attach
        self.reset = runtime.detach


def context_variable() -> ContextVariable:
    """Where the OpenTelemetry API keeps the current `Context`: its `ContextVar`, or a stand-in for another runtime."""
    runtime = context_api._RUNTIME_CONTEXT
    variable = getattr(runtime, "_current_context", None)
    if type(runtime) is ContextVarsRuntimeContext and isinstance(variable, ContextVar):
        return variable
    return cast("ContextVariable", _ForeignRuntime())


def parts_of_propagator(textmap: TextMapPropagator) -> Sequence[TextMapPropagator]:
    """The propagators a composite one asks in turn; any other propagator alone."""
    if type(textmap) is CompositePropagator:
        return tuple(textmap._propagators)
    return (textmap,)


def overrides(processor: SpanProcessor, method: str) -> bool:
    """Whether a processor does anything of its own in `on_start` or `_on_ending`."""
    own = getattr(type(processor), method, None)
    return own is not getattr(SpanProcessor, method) or method in getattr(processor, "__dict__", ())


def notify_ending(processor: SpanProcessor, span: Span) -> None:
    """Tell a processor that a span is ending."""
    processor._on_ending(span)


if TYPE_CHECKING:
    _SpanBase = Span
    _PipelineBase = SynchronousMultiSpanProcessor
    _ProviderBase = TracerProvider
else:
    # the mixins have no base of their own at run time: they stand before upstream's class in the order of resolution
    _SpanBase = _PipelineBase = _ProviderBase = object


def endpoint_of(processor: object) -> str:
    """Where upstream's HTTP exporter behind a span processor sends to; empty for any other processor."""
    exporter = getattr(processor, "span_exporter", None)
    found = getattr(exporter, "_endpoint", None)
    return found if isinstance(found, str) else ""


def _forward(name: str) -> Any:
    """A property that reads and writes the public slot `name`."""

    def read(self: Any) -> Any:
        return getattr(self, name)

    def write(self: Any, value: Any) -> None:
        setattr(self, name, value)

    return property(read, write)


class SpanFields(_SpanBase):
    """The private fields of upstream's span, for `ReadableSpan.to_json` and the processors that reach for them."""

    __slots__ = ()

    if not TYPE_CHECKING:
        _name = _forward("name")
        _context = _forward("context")
        _parent = _forward("parent")
        _kind = _forward("kind")
        _start_time = _forward("start_time")
        _end_time = _forward("end_time")
        _attributes = _forward("attributes")
        _events = _forward("events")
        _links = _forward("links")
        _status = _forward("status")
        _resource = _forward("resource")
        _instrumentation_scope = _forward("instrumentation_scope")

        @property
        def _instrumentation_info(self) -> InstrumentationInfo | None:
            return instrumentation_info(self.instrumentation_scope)

        def _readable_span(self) -> Any:
            return self


class PipelineFields(_PipelineBase):
    """Processors as upstream's multi-processor holds them; libraries that replace them are followed."""

    if not TYPE_CHECKING:

        @property
        def _span_processors(self) -> tuple[SpanProcessor, ...]:
            return self.processors

        @_span_processors.setter
        def _span_processors(self, processors: Sequence[SpanProcessor]) -> None:
            self.use(tuple(processors))

        def _on_ending(self, span: Span) -> None:
            for processor in self.processors:
                notify_ending(processor, span)


class ProviderFields(_ProviderBase):
    """The private fields of upstream's provider that libraries read to find its processors and resource."""

    if not TYPE_CHECKING:

        @property
        def _active_span_processor(self) -> SynchronousMultiSpanProcessor:
            return self.pipeline

        @property
        def _resource(self) -> Resource:
            return self.resource


def instrumentation_info(scope: InstrumentationScope | None) -> InstrumentationInfo | None:
    """The deprecated form of a scope, which old exporters still ask for."""
    if scope is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return InstrumentationInfo(scope.name, scope.version, scope.schema_url)


__all__ = [
    "BAGGAGE_KEY",
    "FLAGS",
    "IS_REMOTE",
    "IS_VALID",
    "OLD_SUPPRESS_KEY",
    "SPAN_ID",
    "SPAN_KEY",
    "STATE",
    "SUPPRESS_ALL",
    "SUPPRESS_HTTP_KEY",
    "SUPPRESS_KEY",
    "TRACE_ID",
    "ContextVariable",
    "PipelineFields",
    "ProviderFields",
    "SpanFields",
    "context_variable",
    "endpoint_of",
    "entry_points",
    "instrumentation_info",
    "new_span_context",
    "notify_ending",
    "overrides",
    "parts_of_propagator",
]
