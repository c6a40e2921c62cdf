"""An application of the drills: `python sender_app.py upstream|ours`, one command a line on standard input.

`send N SIZE` ends N spans, at most 500 a second of them, with an attribute of SIZE bytes, and answers with their ids;
the end of input ends the program as an application ends. Under `ours` it is started by `otel-distro run`, under
`upstream` it sets the SDK up by itself.
"""

from __future__ import annotations

import json
import secrets
import sys
import time

from opentelemetry import trace


def _upstream() -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=200))
    trace.set_tracer_provider(provider)


def _send(count: int, size: int) -> list[str]:
    tracer = trace.get_tracer("drills")
    ids = []
    for number in range(count):
        with tracer.start_as_current_span("GET /orders/{id}", kind=trace.SpanKind.SERVER) as span:
            span.set_attribute("http.route", "/orders/{id}")
            span.set_attribute("drill.number", number)
            if size:
                span.set_attribute("payload", secrets.token_urlsafe(size)[:size])  # a queue cannot pack it
            ids.append(f"{span.get_span_context().span_id:016x}")
        time.sleep(0.002)
    return ids


def main() -> None:
    """Read commands until there are no more."""
    if sys.argv[1] == "upstream":
        _upstream()
    for line in sys.stdin:
        _, count, size = line.split()
        print(json.dumps(_send(int(count), int(size))), flush=True)


if __name__ == "__main__":
    main()
