"""Requests in two halves: the same items under the same resources and scopes, whatever the signal and the encoding."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_distro.otlp.encode_json import JsonSpanEncoder
from otel_distro.otlp.encode_traces import SpanEncoder
from otel_distro.otlp.halves import halves
from tests.recording import Recording


def recorded(counts: dict[str, int]) -> Recording:
    """A recording of so many spans by scope."""
    recording = Recording()
    for scope, count in counts.items():
        for number in range(count):
            recording.tracer_provider.get_tracer(scope, "1").start_span(
                f"{scope} {number}", attributes={"n": number}
            ).end()
    return recording


def all_halves(body: bytes) -> list[bytes]:
    """The requests of one item each."""
    made = halves(body)
    return [body] if made is None else [one for _, half in made for one in all_halves(half)]


def described(bodies: list[bytes]) -> list[tuple[Any, ...]]:
    """Resource, scope and span of each span."""
    messages = [ExportTraceServiceRequest.FromString(body) for body in bodies]
    return [
        (str(group.resource), group.schema_url, str(scope.scope), scope.schema_url, str(span))
        for message in messages
        for group in message.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


@pytest.mark.parametrize("counts", [{"a": 2}, {"a": 1, "b": 1}, {"a": 7, "b": 1, "c": 30}, {"a": 1, "b": 1, "c": 1}])
def test_both_halves_hold_all_spans_as_they_were(counts: dict[str, int]) -> None:
    """Halved down to single spans, a request still tells resource, scope, schema and span of each, in order."""
    body = SpanEncoder().encode(recorded(counts).take()).body
    single = all_halves(body)
    assert len(single) == sum(counts.values())
    assert described(single) == described([body])


def test_the_parts_tell_how_many_items_each_half_has() -> None:
    """The two parts add up to one."""
    made = halves(SpanEncoder().encode(recorded({"a": 3}).take()).body)
    assert made is not None
    assert [round(part, 3) for part, _ in made] == [0.333, 0.667]


def test_json_is_halved_as_json() -> None:
    """The same for a request of JSON."""
    body = JsonSpanEncoder().encode(recorded({"a": 3, "b": 2}).take()).body
    single = [json.loads(one) for one in all_halves(body)]
    found = [
        (g["resource"], s["scope"], s["spans"]) for one in single for g in one["resourceSpans"] for s in g["scopeSpans"]
    ]
    whole = json.loads(body)
    assert found == [
        (group["resource"], scope["scope"], [span])
        for group in whole["resourceSpans"]
        for scope in group["scopeSpans"]
        for span in scope["spans"]
    ]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"{", b"[]", b"\x0a\xff\xff", b"\x08\x01", b"no request at all", b"\x0a\x00"]
)
def test_what_is_no_request_of_many_is_left_as_it_is(body: bytes) -> None:
    """Bytes that cannot be read, and requests of one item, have no halves, and nothing is raised."""
    assert halves(body) is None
