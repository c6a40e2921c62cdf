"""What the roles and overlays do with what is sent: sampling, span metrics, Sentry, logs, the page for Prometheus."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from scripts.collectorgen.choices import Choice
from tests.collector.generated import NOWHERE, GeneratedCollector
from tests.servers import Answer, OtlpSink, RecorderServer, http_get, http_post, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.otlp_servers import Certificates

_HEADERS = {"Content-Type": "application/x-protobuf"}
_RESOURCE = {"service.name": "shop", "service.version": "1.2.3", "deployment.environment.name": "test"}


def pairs(values: dict[str, str]) -> list[KeyValue]:
    """Attributes."""
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in values.items()]


def send_request(url: str, *, seconds: float = 0.01, error: bool = False, **attributes: str) -> str:
    """A trace of one server span; its span id in hex."""
    now, span_id = time.time_ns(), secrets.token_bytes(8)
    span = Span(
        trace_id=secrets.token_bytes(16),
        span_id=span_id,
        name="GET",
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=now - int(seconds * 1e9),
        end_time_unix_nano=now,
        attributes=pairs({"http.route": "/plain"} | attributes),
        status=Status(code=Status.STATUS_CODE_ERROR if error else Status.STATUS_CODE_UNSET),
    )
    group = ResourceSpans(resource=Resource(attributes=pairs(_RESOURCE)), scope_spans=[ScopeSpans(spans=[span])])
    assert (
        http_post(f"{url}/v1/traces", ExportTraceServiceRequest(resource_spans=[group]).SerializeToString(), _HEADERS)
        == 200
    )
    return span_id.hex()


def calls(sink: OtlpSink) -> float:
    """Requests by span metrics: the newest point of each series."""
    newest: dict[Any, float] = {}
    for point in sink.points:
        if point.name == "traces.span.metrics.calls":
            newest[tuple(sorted(point.attributes.items()))] = point.value
    return sum(newest.values())


def test_sampling_keeps_what_matters_and_counts_everything_before(certificates: Certificates, logs: Path) -> None:
    """Errors, slow traces, listed routes and tenants are kept, the rest by the floor; span metrics count all."""
    env = {
        "OTELCOL_SAMPLING_WAIT": "1s",
        "OTELCOL_SAMPLING_PERCENT": "0",
        "OTELCOL_SAMPLING_ROUTES": "^/checkout",
        "OTELCOL_SAMPLING_TENANTS": "^(acme)",
        "OTELCOL_SPAN_METRICS_INTERVAL": "500ms",
    }
    with OtlpSink() as metrics, RecorderServer(logs, "tempo") as tempo, RecorderServer(logs, "jaeger") as jaeger:
        env |= {
            "TEMPO_OTLP_ENDPOINT": tempo.otlp_endpoint,
            "JAEGER_OTLP_ENDPOINT": jaeger.otlp_endpoint,
            "PROMETHEUS_OTLP_ENDPOINT": metrics.url,
        }
        with GeneratedCollector(logs, Choice("sampling"), certificates, env=env) as collector:
            kept = {
                send_request(collector.url, error=True),
                send_request(collector.url, seconds=2),
                send_request(collector.url, **{"http.route": "/checkout/{id}"}),
                send_request(collector.url, **{"tenant.id": "acme"}),
            }
            for _ in range(6):
                send_request(collector.url, **{"tenant.id": "other"})
            for backend in (tempo, jaeger):
                backend.wait_for_spans(4)
            collector.wait_for_metric("otelcol_ledger_items_total", 6, stage="sampled_away")
            assert [set(backend.stored()) for backend in (tempo, jaeger)] == [kept, kept]
            metrics.wait_for(lambda sink: calls(sink) == 10, what="span metrics of all ten")


def test_spans_to_sentry_are_stamped_and_its_rate_limit_is_honoured(certificates: Certificates, logs: Path) -> None:
    """Release and environment on the span; after a 429 nothing comes before Retry-After is over."""
    with OtlpSink() as sentry, RecorderServer(logs, "tempo") as tempo:
        env = {
            "TEMPO_OTLP_ENDPOINT": tempo.otlp_endpoint,
            "SENTRY_OTLP_TRACES_ENDPOINT": f"{sentry.url}/api/1/integration/otlp/v1/traces",
            "SENTRY_PUBLIC_KEY": "public",
        }
        sentry.answer_next(Answer(429, headers={"Retry-After": "2"}))
        with GeneratedCollector(logs, Choice("gateway", sentry=True), certificates, env=env) as collector:
            sent = send_request(collector.url)
            tempo.wait_for_spans(1)
            (span,) = sentry.wait_for_spans(1, seconds=15)
            first, second = sentry.requests
            assert second.monotonic - first.monotonic >= 2
            assert second.headers["x-sentry-auth"] == "sentry sentry_key=public"
            assert span.span_id == sent
            assert (span.attributes["sentry.release"], span.attributes["sentry.environment"]) == ("1.2.3", "test")


def test_a_sentry_that_is_away_makes_nobody_send_again(certificates: Certificates, logs: Path) -> None:
    """Sentry is a follower: its full queue is a counted drop of its own, and Tempo has each span once."""
    with RecorderServer(logs, "tempo") as tempo:
        env = {"TEMPO_OTLP_ENDPOINT": tempo.otlp_endpoint, "OTELCOL_SENTRY_QUEUE_BYTES": "900000"}
        with GeneratedCollector(logs, Choice("gateway", sentry=True), certificates, env=env) as collector:
            for _ in range(40):
                send_request(collector.url, payload="x" * 50_000)
            tempo.wait_for_spans(40)
            collector.wait_for_metric(
                "otelcol_isolate_dropped_items_total", 1, branch="traces/sentry", reason="queue_full"
            )
            assert set(tempo.stored().values()) == {1}


def test_logs_reach_the_store_and_the_file(certificates: Certificates, logs: Path) -> None:
    """Both have the line; while the store refuses, the file still gets the next one."""
    with RecorderServer(logs, "store") as store:
        choice, env = Choice("gateway", logs="otlp+file"), {"LOGS_OTLP_ENDPOINT": store.otlp_endpoint}
        with GeneratedCollector(logs, choice, certificates, env=env) as collector:
            file = collector.data / "queues" / "logs" / "logs.json"
            log(collector.url, "first line")
            collector.wait_for_metric("otelcol_ledger_items_total", 1, signal="logs", stage="delivered", backend="logs")
            store.behave(code=14)
            log(collector.url, "second line")
            for line in ("first line", "second line"):
                wait_until(lambda line=line: line in file.read_text(), seconds=10, what=f"{line} in the file")


def log(url: str, line: str) -> None:
    """Send one record."""
    record = LogRecord(body=AnyValue(string_value=line))
    group = ResourceLogs(scope_logs=[ScopeLogs(log_records=[record])])
    body = ExportLogsServiceRequest(resource_logs=[group]).SerializeToString()
    assert http_post(f"{url}/v1/logs", body, _HEADERS) == 200


def test_the_page_for_prometheus_has_span_metrics(certificates: Certificates, logs: Path) -> None:
    """With `--metrics=scrape` the collector shows span metrics on a page."""
    env = {"OTELCOL_SPAN_METRICS_INTERVAL": "500ms"}
    with GeneratedCollector(logs, Choice("gateway", metrics="scrape"), certificates, env=env) as collector:
        send_request(collector.url, **{"http.route": "/scraped"})
        page = f"http://127.0.0.1:{collector.ports['prometheus']}/metrics"
        wait_until(lambda: b'http_route="/scraped"' in http_get(page), seconds=15, what="the route on the page")


def test_a_login_in_the_address_of_remote_write_is_on_no_page(certificates: Certificates, logs: Path) -> None:
    """Its exporter labels metrics with the address; whoever may scrape the collector may not write to the store."""
    env = {
        "PROMETHEUS_REMOTE_WRITE_ENDPOINT": f"http://joe:canary@{NOWHERE}/api/v1/write",
        "OTELCOL_SPAN_METRICS_INTERVAL": "200ms",
    }
    with GeneratedCollector(logs, Choice("gateway", metrics="remote-write"), certificates, env=env) as collector:
        send_request(collector.url)
        collector.wait_for_metric("otelcol_exporter_prometheusremotewrite_translated_time_series_total", 1)
        shown = [sample for sample in collector.metrics() if "canary" in str(sample.labels)]
        assert shown == []
