"""Programs of tracing calls, made by hypothesis and run by any `TracerProvider`, and what is left of their spans."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    get_current_span,
    set_span_in_context,
)


class Spoken:
    """An object with a text of its own."""

    def __repr__(self) -> str:
        return "spoken"


class Mute:
    """An object without a text of its own."""


class Colour(enum.Enum):
    """A value that is no attribute type but has a text."""

    RED = "red"


NOW = 10**15
"""Timestamps of programs are below it, clocks above."""

times = st.integers(0, NOW - 1)
keys = st.text("abc", max_size=3)
wild_keys = keys | st.sampled_from([0, 3, None, b"k"])
scalars = (
    st.text(max_size=15)
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.binary(max_size=3)
    | st.none()
    | st.sampled_from([Spoken(), Mute(), Colour.RED, range(3), 1j])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(wild_keys, inner, max_size=3),
    max_leaves=5,
)
attributes = st.none() | st.dictionaries(wild_keys, values, max_size=6)
contexts = st.builds(
    SpanContext,
    st.integers(0, 3),
    st.integers(0, 3),
    st.booleans(),
    st.integers(0, 255).map(TraceFlags),
    st.sampled_from([TraceState(), TraceState([("a", "1")]), None]),
)
links = st.none() | st.lists(st.builds(Link, contexts, attributes) | st.none(), max_size=4)
names = st.text(max_size=5)
statuses = st.tuples(st.sampled_from(StatusCode), st.none() | st.text(max_size=4)) | st.tuples(
    st.builds(Status, st.sampled_from(StatusCode), st.none() | st.text(max_size=4)), st.none() | st.just("beside")
)
errors = st.sampled_from([ValueError("v"), KeyError("k"), RuntimeError(), ExceptionGroup("g", [OSError("o")])])
parents = st.just("current") | st.just("none") | contexts

calls = st.one_of(
    st.tuples(st.just("start"), names, parents, st.sampled_from(SpanKind), attributes, links, times),
    st.tuples(st.just("enter"), names, parents, st.sampled_from(SpanKind), attributes, links, times),
    st.tuples(st.just("leave"), st.none() | errors, st.booleans(), st.booleans()),
    st.tuples(st.just("set_attribute"), keys, values),
    st.tuples(st.just("set_attributes"), st.dictionaries(wild_keys, values, max_size=5)),
    st.tuples(st.just("add_event"), names, attributes, times),
    st.tuples(st.just("add_link"), contexts, attributes),
    st.tuples(st.just("update_name"), names),
    st.tuples(st.just("set_status"), statuses),
    st.tuples(st.just("record_exception"), errors, attributes, times, st.booleans()),
    st.tuples(st.just("end"), times),
)
programs = st.lists(calls, max_size=14)
limits = st.fixed_dictionaries(
    {
        "attribute_count": st.integers(0, 4) | st.just(128),
        "span_attribute_count": st.none() | st.integers(0, 4),
        "event_count": st.integers(0, 3) | st.just(128),
        "link_count": st.integers(0, 3) | st.just(128),
        "event_attribute_count": st.integers(0, 3) | st.just(128),
        "link_attribute_count": st.integers(0, 3) | st.just(128),
        # long enough for the texts of objects, which upstream never cuts (one of the intended differences)
        "attribute_length": st.none() | st.integers(10, 13),
        "span_attribute_length": st.none() | st.integers(10, 13),
    }
)


def run(provider: TracerProvider, program: Sequence[tuple[Any, ...]]) -> list[Span]:
    """Run a program; the spans it started, in order. Calls go to the newest span, ended or not."""
    tracer = provider.get_tracer("conformance", "1", "https://example.test/schema", {"a": 1})
    started: list[Span] = []
    rest = list(program)
    while rest:
        # a `leave` without a block ends nothing
        _run(tracer, rest, started, inside=False)
    return started


def _run(tracer: Tracer, program: list[tuple[Any, ...]], started: list[Span], *, inside: bool) -> None:
    """Run until the block ends; a nested block is a recursion, so that blocks always nest."""
    while program:
        name, *arguments = program.pop(0)
        if name == "leave":
            if inside and arguments[0] is not None:
                raise arguments[0]
            return
        if name == "start":
            started.append(_start(tracer.start_span, arguments))
        elif name == "enter":
            _enter(tracer, arguments, program, started)
        elif started:
            _call(started[-1], name, arguments)


def _enter(tracer: Tracer, arguments: list[Any], program: list[tuple[Any, ...]], started: list[Span]) -> None:
    leave = next((call for call in program if call[0] == "leave"), ("leave", None, True, True))
    block = _start(tracer.start_as_current_span, arguments, record_exception=leave[2], set_status_on_exception=leave[3])
    try:
        with block as span:
            started.append(span)
            _run(tracer, program, started, inside=True)
    except Exception as error:
        # the program's own; the same object is raised again in the next run
        error.__traceback__ = error.__context__ = None


def _start(start: Any, arguments: list[Any], **more: Any) -> Any:
    name, parent, kind, given, linked, at = arguments
    context: Context | None = None
    if parent == "none":
        context = Context()
    elif parent != "current":
        context = set_span_in_context(NonRecordingSpan(parent), Context())
    return start(name, context, kind, given, _fresh(linked), at, **more)


def _fresh(linked: Sequence[Link | None] | None) -> Any:
    # upstream writes into the links it is given, so each run needs its own
    return linked and [link and Link(link.context, link.attributes) for link in linked]


def _call(span: Span, name: str, arguments: list[Any]) -> None:
    if name == "record_exception":
        error, given, at, escaped = arguments
        span.record_exception(error, given, at, escaped)
    elif name == "set_status":
        span.set_status(*arguments[0])
    else:
        getattr(span, name)(*arguments)


def seen(span: ReadableSpan, ids: dict[int, int] | None = None) -> dict[str, Any]:
    """What a reader sees of a span, in a form that compares: NaN as text, clocks as `now`, ids by order if given."""
    return {
        "name": span.name,
        "context": _ids(span.context, ids),
        "parent": _ids(span.parent, ids),
        "kind": span.kind,
        "times": (_at(span.start_time), _at(span.end_time)),
        "attributes": _pairs(span.attributes),
        "events": [
            (event.name, _pairs(event.attributes), _at(event.timestamp), event.dropped_attributes)
            for event in span.events
        ],
        "links": [(_ids(link.context, None), _pairs(link.attributes), link.dropped_attributes) for link in span.links],
        "status": (span.status.status_code, span.status.description),
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
        "resource": dict(span.resource.attributes),
        "scope": span.instrumentation_scope,
    }


def _at(moment: int | None) -> int | str | None:
    return moment if moment is None or moment < NOW else "now"


def _pairs(given: Any) -> list[tuple[str, str]]:
    return [
        (key, value.splitlines()[-1] if key == "exception.stacktrace" and value else repr(value))
        for key, value in given.items()
    ]


def _ids(context: SpanContext | None, ids: dict[int, int] | None) -> Any:
    if context is None:
        return None
    named = (context.trace_id, context.span_id)
    if ids is not None:
        named = (ids.setdefault(context.trace_id, len(ids)), ids.setdefault(context.span_id, len(ids)))
    return (*named, int(context.trace_flags), dict(context.trace_state), context.is_remote, context.is_valid)


__all__ = [
    "INVALID_SPAN_CONTEXT",
    "Mute",
    "Spoken",
    "get_current_span",
    "limits",
    "programs",
    "run",
    "seen",
]
