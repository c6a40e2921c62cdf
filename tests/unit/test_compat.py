"""A contract test for each private name of upstream: red when a release moves what we rely on."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry import baggage
from opentelemetry import context as context_api
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation import utils
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_distro import _compat
from otel_distro.tracing import LeanSpan
from tests.tracing_rig import Collected, provider


def test_span_key_is_where_the_api_keeps_the_span() -> None:
    """`SPAN_KEY` is the key under which the API puts and finds the current span."""
    assert set_span_in_context(INVALID_SPAN, Context()) == {_compat.SPAN_KEY: INVALID_SPAN}
    span = provider().get_tracer("t").start_span("s")
    assert get_current_span(Context({_compat.SPAN_KEY: span})) is span


def test_baggage_key_is_where_the_api_keeps_the_baggage() -> None:
    """`BAGGAGE_KEY` is in a context exactly where it has baggage."""
    assert _compat.BAGGAGE_KEY not in Context()
    assert _compat.BAGGAGE_KEY in baggage.set_baggage("key", "value", Context())


def test_suppress_keys_are_those_instrumentations_look_at() -> None:
    """A context with `SUPPRESS_ALL` switches contrib's instrumentations off, and theirs has our keys."""
    with utils.suppress_instrumentation():
        assert context_api.get_value(_compat.SUPPRESS_KEY)
    with utils.suppress_http_instrumentation():
        assert context_api.get_value(_compat.SUPPRESS_HTTP_KEY)
    token = context_api.attach(Context(_compat.SUPPRESS_ALL))
    try:
        assert not utils.is_instrumentation_enabled()
        assert not utils.is_http_instrumentation_enabled()
    finally:
        context_api.detach(token)


def test_a_span_context_is_a_tuple_in_the_known_order() -> None:
    """Indices read what the properties read, and a context built without its constructor equals one built with it."""
    state = TraceState([("a", "b")])
    made = SpanContext(5, 7, True, TraceFlags(3), state)
    assert made[_compat.TRACE_ID] == made.trace_id == 5
    assert made[_compat.SPAN_ID] == made.span_id == 7
    assert made[_compat.IS_REMOTE] is made.is_remote is True
    assert made[_compat.FLAGS] is made.trace_flags
    assert made[_compat.STATE] is made.trace_state
    assert made[_compat.IS_VALID] is made.is_valid is True
    built = _compat.new_span_context(SpanContext, (5, 7, True, TraceFlags(3), state, True))
    assert built == made
    assert type(built) is SpanContext
    assert len(built) == 6


def test_context_variable_is_the_apis() -> None:
    """What is set through the variable is the API's current context, and the token puts the old one back."""
    variable = _compat.context_variable()
    before = context_api.get_current()
    token = variable.set(Context({"k": "v"}))
    assert context_api.get_value("k") == "v"
    variable.reset(token)
    assert context_api.get_current() is before is variable.get()


FOREIGN = """
from opentelemetry import context, trace
from opentelemetry.context.context import Context, _RuntimeContext
class Plain(_RuntimeContext):
    now = Context()
    def attach(self, value):
        before, self.now = self.now, value
        return before
    def get_current(self):
        return self.now
    def detach(self, token):
        self.now = token
context._RUNTIME_CONTEXT = Plain()
from tests.tracing_rig import provider
with provider().get_tracer("t").start_as_current_span("s") as span:
    assert trace.get_current_span() is span
assert context.get_current() == {}
"""


def test_a_runtime_context_of_somebody_else_is_used() -> None:
    """Where `OTEL_PYTHON_CONTEXT` chose another runtime, spans become current in that one."""
    subprocess.run([sys.executable, "-c", FOREIGN], check=True, timeout=60)


class _Starting(SpanProcessor):
    def on_start(self, span: object, parent_context: Context | None = None) -> None:
        """Of its own."""


class _Ending(SpanProcessor):
    def _on_ending(self, span: object) -> None:
        """Of its own."""


def test_overrides_tells_which_processors_care() -> None:
    """A method counts as overridden on the class or on the object, and not when it is upstream's empty one."""
    assert not _compat.overrides(SpanProcessor(), "on_start")
    assert not _compat.overrides(SpanProcessor(), "_on_ending")
    assert _compat.overrides(_Starting(), "on_start")
    assert _compat.overrides(_Ending(), "_on_ending")
    patched = SpanProcessor()
    patched.on_start = lambda span, parent_context=None: None  # type: ignore[method-assign]
    assert _compat.overrides(patched, "on_start")


def test_the_endpoint_of_an_exporter_is_found() -> None:
    """The endpoint of upstream's HTTP exporter is seen through its batch processor; others have none."""
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint="http://127.0.0.1:9/api/1/otlp/v1/traces"))
    try:
        assert _compat.endpoint_of(processor) == "http://127.0.0.1:9/api/1/otlp/v1/traces"
        assert _compat.endpoint_of(SpanProcessor()) == ""
    finally:
        processor.shutdown()


def test_parts_of_propagator_opens_a_composite_one() -> None:
    """A composite propagator gives its parts in order, any other itself."""
    parts = [TraceContextTextMapPropagator(), W3CBaggagePropagator()]
    assert list(_compat.parts_of_propagator(CompositePropagator(parts))) == parts
    assert list(_compat.parts_of_propagator(parts[0])) == parts[:1]


def test_a_lean_span_answers_for_every_private_field_of_upstreams() -> None:
    """Whatever upstream keeps on a readable span is found under the same private name on ours."""
    span = provider().get_tracer("t").start_span("s")
    for name in vars(ReadableSpan("x", resource=Resource({}))):
        assert hasattr(span, name), name


def test_private_fields_write_through() -> None:
    """A processor that replaces a private field, as some redact, changes what exporters read."""
    span = provider().get_tracer("t").start_span("s", attributes={"a": 1})
    assert isinstance(span, LeanSpan)
    span.add_event("gone")
    span.add_link(SpanContext(1, 1, False))
    for name, public, value in [
        ("_name", "name", "n"),
        ("_attributes", "attributes", {"b": 2}),
        ("_events", "events", ()),
        ("_links", "links", ()),
    ]:
        setattr(span, name, value)
        assert getattr(span, public) == value
    assert span._readable_span() is span
    with pytest.warns(DeprecationWarning, match="instrumentation_scope"):
        assert span.instrumentation_info.name == "t"


def test_to_json_is_upstreams() -> None:
    """`to_json`, which the console exporter prints, gives upstream's text for the same span."""
    texts = []
    for make in (
        provider,
        lambda: TracerProvider(resource=Resource({"service.name": "rig"}), shutdown_on_exit=False),
    ):
        collected = Collected()
        traced = make()
        traced.add_span_processor(collected)
        parent = SpanContext(1, 2, True, TraceFlags(1))
        span = traced.get_tracer("t").start_span(
            "s",
            set_span_in_context(_Fixed(parent)),
            SpanKind.SERVER,
            {"a": [1, 2]},
            [Link(parent, {"l": 1})],
            start_time=1,
        )
        span.add_event("e", {"x": "y"}, 2)
        span.end(3)
        own = f"{span.get_span_context().span_id:016x}"
        texts.append(collected.spans[0].to_json().replace(own, "own"))
    assert texts[0] == texts[1]


class _Fixed(NonRecordingSpan):
    """A remote parent."""


def test_replaced_processors_are_followed() -> None:
    """Libraries that assign `_active_span_processor._span_processors` decide which processors are called."""
    first, second = Collected(), Collected()
    traced = provider(first)
    assert isinstance(traced._active_span_processor, SynchronousMultiSpanProcessor)
    assert traced._active_span_processor._span_processors == (first,)
    traced._active_span_processor._span_processors = (second,)
    traced.get_tracer("t").start_span("s").end()
    assert (len(first.spans), len(second.spans)) == (0, 1)
    assert traced._resource is traced.resource


def test_upstreams_constructors_that_are_not_called_make_what_we_know() -> None:
    """We do not run upstream's constructors of provider, tracer and multi-processor: a new field must be looked at."""
    traced = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    assert set(vars(SynchronousMultiSpanProcessor())) == {"_span_processors", "_lock"}
    assert set(vars(traced)) == {
        "_active_span_processor",
        "_atexit_handler",
        "_disabled",
        "_meter_provider",
        "_resource",
        "_span_limits",
        "_tracer_configurator",
        "_tracers",
        "_tracers_lock",
        "id_generator",
        "sampler",
    }
    assert set(vars(traced.get_tracer("t"))) == {
        "_instrumentation_scope",
        "_span_limits",
        "_tracer_config",
        "_tracer_metrics",
        "id_generator",
        "instrumentation_info",
        "resource",
        "sampler",
        "span_processor",
    }


def test_instrumentation_info_says_what_the_scope_says() -> None:
    """The deprecated form of a scope carries its name, version and schema, without a warning."""
    info = _compat.instrumentation_info(InstrumentationScope("n", "v", "s"))
    assert info is not None
    assert (info.name, info.version, info.schema_url) == ("n", "v", "s")
    assert _compat.instrumentation_info(None) is None


def test_entry_points_are_read_once() -> None:
    """Upstream's look-up finds what Python's finds, and keeps it: a second call reads no files."""
    from importlib.metadata import entry_points

    group = "opentelemetry_instrumentor"
    assert {point.name for point in _compat.entry_points(group=group)} == {p.name for p in entry_points(group=group)}
    first, second = _compat.entry_points(group=group), _compat.entry_points(group=group)
    assert next(iter(first)) is next(iter(second))
