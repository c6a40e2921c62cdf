"""The counting sink of the benchmarks: "every span arrived" is worth as much as its counters."""

from __future__ import annotations

import gzip
import json

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from benchmarks.sink.counting import datadog_spans, otlp_spans, sentry_spans


def _scope(spans: int) -> ScopeSpans:
    return ScopeSpans(schema_url="https://example.org", spans=[Span(name=f"span {n}", kind=2) for n in range(spans)])


def test_otlp_spans_are_counted_over_all_resources_and_scopes() -> None:
    """The count is that of protobuf's own reading of the message."""
    request = ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(schema_url="x", scope_spans=[_scope(3), _scope(0), _scope(200)]),
            ResourceSpans(scope_spans=[_scope(1)]),
        ]
    )
    assert otlp_spans(request.SerializeToString()) == 204


def test_otlp_of_nothing_has_no_spans() -> None:
    """An empty request is legal."""
    assert otlp_spans(b"") == 0


def test_otlp_that_is_cut_off_is_an_error() -> None:
    """A body that ends within a field was not counted as if it were whole."""
    with pytest.raises((IndexError, ValueError)):
        otlp_spans(b"\x0a")


@pytest.mark.parametrize("compress", [gzip.compress, bytes], ids=["gzip", "plain"])
def test_sentry_transactions_and_their_spans_are_counted(compress: object) -> None:
    """A transaction is a span itself; events and the header of the envelope are none."""
    transaction = json.dumps({"spans": [{}, {}]}).encode()
    event = json.dumps({"message": "no span"}).encode()
    envelope = b"\n".join(
        [
            b'{"event_id": "1"}',
            b'{"type": "transaction", "length": %d}' % len(transaction),
            transaction,
            b'{"type": "event"}',
            event,
            b'{"type": "span", "item_count": 4, "length": 2}',
            b"{}",
        ]
    )
    assert callable(compress)
    assert sentry_spans(compress(envelope)) == 7


# A trace of two spans with every kind of MessagePack value in it, and a trace of one.
_SPAN = (
    b"\x87"
    b"\xa4name\xd9\x03abc"
    b"\xa2id\xcf\x00\x00\x00\x00\x00\x00\x00\x01"
    b"\xa5error\x00"
    b"\xa4meta\xde\x00\x01\xa1k\xda\x00\x02vv"
    b"\xa1f\xcb\x00\x00\x00\x00\x00\x00\x00\x00"
    b"\xa1l\x93\xc0\xc3\xff"
    b"\xa1b\xc4\x02\x00\x01"
)


def test_datadog_spans_are_counted_over_all_traces() -> None:
    """Version 0.4 is a list of traces, each a list of maps."""
    assert datadog_spans(b"\x92" + b"\x92" + _SPAN + _SPAN + b"\xdc\x00\x01" + _SPAN) == 3


def test_datadog_spans_behind_a_string_table_are_counted() -> None:
    """Version 0.5 puts the strings first and makes spans of numbers."""
    strings = b"\x92\xa0\xa3abc"
    span = b"\x9c\x00\x01\x01" + b"\xcf" + bytes(8) + b"\x01\x01\x01\x01\x00\x80\x80\x01"
    assert datadog_spans(b"\x92" + strings + b"\x91\x92" + span + span) == 2


def test_datadog_of_something_else_is_an_error() -> None:
    """A body that is no list of traces is not counted as none."""
    with pytest.raises(ValueError, match="no list"):
        datadog_spans(b"\x81\xa1a\x01")
