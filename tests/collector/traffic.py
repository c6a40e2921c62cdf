"""Traces as an SDK sends them, made from protobuf messages so that no SDK stands between the test and the collector."""

from __future__ import annotations

import gzip
import secrets
import time
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tests.servers import http_post

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Spans of one trace: a server span, and below it a client span that failed.
SPANS = 2


def send_traces(url: str, service: str, count: int, **attributes: str) -> list[str]:
    """Send `count` traces of two spans by OTLP/HTTP, one request each, and return their ids in hex.

    `attributes` are added to the server span.

    Raises:
        AssertionError: the receiver did not accept one.
    """
    ids = []
    for _ in range(count):
        trace_id = secrets.token_bytes(16)
        body = gzip.compress(_request(service, trace_id, attributes).SerializeToString())
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
        status = http_post(f"{url}/v1/traces", body, headers)
        assert status == 200, f"the collector answered {status}"
        ids.append(trace_id.hex())
    return ids


def request_body(service: str) -> bytes:
    """One request with one trace, as protobuf."""
    return _request(service, secrets.token_bytes(16), {}).SerializeToString()


def _request(service: str, trace_id: bytes, attributes: Mapping[str, str]) -> ExportTraceServiceRequest:
    """One request with one trace: `GET /orders/{id}` and a client call in it."""
    now = time.time_ns()
    server = Span(
        trace_id=trace_id,
        span_id=secrets.token_bytes(8),
        name="GET /orders/{id}",
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=now - 20_000_000,
        end_time_unix_nano=now,
        attributes=[
            _attribute("http.request.method", "GET"),
            _attribute("http.route", "/orders/{id}"),
            KeyValue(key="http.response.status_code", value=AnyValue(int_value=502)),
            *(_attribute(key, value) for key, value in attributes.items()),
        ],
    )
    client = Span(
        trace_id=trace_id,
        span_id=secrets.token_bytes(8),
        parent_span_id=server.span_id,
        name="GET",
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=now - 15_000_000,
        end_time_unix_nano=now - 5_000_000,
        status=Status(code=Status.STATUS_CODE_ERROR, message="connection refused"),
        events=[
            Span.Event(
                name="exception",
                time_unix_nano=now - 6_000_000,
                attributes=[_attribute("exception.type", "ConnectError")],
            )
        ],
    )
    resource = Resource(
        attributes=[_attribute("service.name", service), _attribute("service.instance.id", secrets.token_hex(4))]
    )
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=resource, scope_spans=[ScopeSpans(spans=[server, client])])]
    )


def _attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))
