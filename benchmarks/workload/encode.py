"""How much processor time a span takes on its way to OTLP bytes, in batches, with the encoder of each pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from time import process_time
from typing import Any, cast

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

_SPANS = 5_120
_BATCH = 512
Encode = Callable[[Sequence[ReadableSpan]], bytes]


class _Keep(SpanProcessor):
    """Keeps what ends, as an exporter would get it."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def _ours() -> Encode:
    from otel_distro.otlp.encode_traces import SpanEncoder

    encoder = SpanEncoder()
    return lambda spans: encoder.encode(spans).body


def _upstream() -> Encode:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    return lambda spans: cast("bytes", encode_spans(spans).SerializeToString())


def _spans() -> list[ReadableSpan]:
    """Server-like spans of ten attributes: some values always alike, some never."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        raise TypeError(f"the global provider is a {type(provider).__name__}: nothing was configured")
    kept = _Keep()
    provider.add_span_processor(kept)
    tracer = trace.get_tracer("bench", "1.0")
    for number in range(_SPANS):
        attributes: dict[str, Any] = {
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "http.route": "/items/{item_id}",
            "url.path": f"/items/{number}",
            "url.scheme": "http",
            "server.address": "127.0.0.1",
            "server.port": 8000,
            "client.address": f"10.0.{number % 256}.7",
            "network.protocol.version": "1.1",
            "user_agent.original": "Mozilla/5.0 (X11; Linux x86_64) bench/1.0",
        }
        tracer.start_span("GET /items/{item_id}", kind=trace.SpanKind.SERVER, attributes=attributes).end()
    provider.force_flush()  # nothing is exported while the encoder is timed
    return kept.spans


def report_encoding(name: str) -> None:
    """Prints microseconds a span; the first batch, which fills caches, is not counted."""
    spans = _spans()
    encode = _ours() if name == "ours" else _upstream()
    encode(spans[:_BATCH])
    started = process_time()
    size = sum(len(encode(spans[start : start + _BATCH])) for start in range(_BATCH, _SPANS, _BATCH))
    spent = process_time() - started
    counted = _SPANS - _BATCH
    print(json.dumps({"cpu_us": 1e6 * spent / counted, "bytes": size / counted}))
