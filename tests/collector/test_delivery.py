"""What goes in comes out: traces in both backends, span metrics and their exemplars in Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.collector.traffic import SPANS, send_traces
from tests.servers import CollectorServer, Stack, tempo_name, total

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import TraceBackend

BACKENDS = ("jaeger", tempo_name())

# The names that alert rules and dashboards may ask for; an upgrade that renames one must fail here, not in an alert.
PINNED = (
    "otelcol_receiver_accepted_spans_total",
    "otelcol_receiver_refused_spans_total",
    "otelcol_receiver_failed_spans_total",
    "otelcol_exporter_sent_spans_total",
    "otelcol_exporter_sent_metric_points_total",
    "otelcol_exporter_queue_size",
    "otelcol_exporter_queue_capacity",
    "otelcol_exporter_in_flight_requests",
    "otelcol_exporter_queue_batch_send_size_bytes_bucket",
    "otelcol_processor_incoming_items_total",
    "otelcol_processor_outgoing_items_total",
    "otelcol_processor_memory_limiter_accepted_spans_total",
    "otelcol_process_cpu_seconds_total",
    "otelcol_process_memory_rss_bytes",
    "otelcol_process_uptime_seconds_total",
)


def backend(stack: Stack, index: int) -> TraceBackend:
    """Jaeger for 0, Tempo or its stand-in for 1."""
    return stack.backends[index]


@pytest.mark.parametrize("index", [0, 1], ids=BACKENDS)
def test_trace_arrives_whole(stack: Stack, index: int) -> None:
    """A trace sent by OTLP/HTTP stands in each backend with its tree, kinds, status, attributes and events."""
    (trace_id,) = send_traces(stack.collector.url, "whole", 1)
    server, client = backend(stack, index).wait_for_trace(trace_id, spans=SPANS)
    assert (server.name, server.kind, server.parent_span_id) == ("GET /orders/{id}", "SERVER", "")
    assert (server.attributes["http.route"], server.attributes["http.response.status_code"]) == ("/orders/{id}", 502)
    assert (client.kind, client.parent_span_id) == ("CLIENT", server.span_id)
    assert (client.status, client.status_message) == ("ERROR", "connection refused")
    assert [(event.name, event.attributes["exception.type"]) for event in client.events] == [
        ("exception", "ConnectError")
    ]
    assert {span.service for span in (server, client)} == {"whole"}
    assert client.end_unix_nano - client.start_unix_nano == 10_000_000


@pytest.mark.parametrize("index", [0, 1], ids=BACKENDS)
def test_trace_is_found_by_its_service(stack: Stack, index: int) -> None:
    """A search for the service finds each of its traces in each backend."""
    sent = send_traces(stack.collector.url, f"searched-{index}", 3)
    found = [backend(stack, index).wait_for_search(f"searched-{index}", trace_id) for trace_id in sent][-1]
    assert sorted(found) == sorted(sent)


def test_grpc_receiver_takes_traces(stack: Stack, logs: Path) -> None:
    """What another collector sends by OTLP/gRPC arrives as well."""
    target = f"127.0.0.1:{stack.collector.ports['grpc']}"
    env = {"TEMPO_OTLP_ENDPOINT": target, "JAEGER_OTLP_ENDPOINT": target}
    with CollectorServer(logs, env=env, name="front") as front:
        (trace_id,) = send_traces(front.url, "by-grpc", 1)
        assert len(stack.jaeger.wait_for_trace(trace_id, spans=SPANS)) == SPANS


def test_request_count_stands_in_prometheus(stack: Stack) -> None:
    """Span metrics count the requests that were sent, by service and route, with the seconds in their names."""
    send_traces(stack.collector.url, "counted", 7)
    series = 'service_name="counted", http_route="/orders/{id}", http_response_status_code="502"'
    stack.prometheus.wait_for_value(f"sum(traces_span_metrics_calls_total{{{series}}})", 7)
    stack.prometheus.wait_for_value(f"sum(traces_span_metrics_duration_seconds_count{{{series}}})", 7)


def test_one_series_for_all_processes_of_a_service(stack: Stack) -> None:
    """Span metrics of several process ids are one series of the service, which names no process."""
    send_traces(stack.collector.url, "many-processes", 5)
    calls = 'traces_span_metrics_calls_total{service_name="many-processes", span_kind="SPAN_KIND_SERVER"}'
    stack.prometheus.wait_for_value(calls, 5)
    (series,) = stack.prometheus.query(calls)
    assert "instance" not in series.labels


def test_exemplar_leads_to_a_trace(stack: Stack) -> None:
    """A bucket of the duration histogram carries the id of a trace that was sent."""
    sent = send_traces(stack.collector.url, "exemplary", 3)
    stack.prometheus.wait_for_value('sum(traces_span_metrics_duration_seconds_count{service_name="exemplary"})', 6)
    exemplars = stack.prometheus.exemplars('traces_span_metrics_duration_seconds_bucket{service_name="exemplary"}')
    found = {exemplar["labels"]["trace_id"] for exemplar in exemplars}
    assert found
    assert found <= set(sent)


def test_pinned_internal_metrics_are_scraped(stack: Stack) -> None:
    """Prometheus scrapes the collector's own metrics under the names that alerts ask for."""
    send_traces(stack.collector.url, "pinned", 2)
    stack.collector.wait_for_metric("otelcol_exporter_sent_spans_total", 2 * SPANS, exporter="otlp_grpc/tempo")
    stack.collector.wait_for_metric("otelcol_exporter_sent_metric_points_total", 1)
    stack.prometheus.wait_for_value('sum(up{job="otel-collector"})', 1)
    present = {sample.name for sample in stack.collector.metrics()}
    assert [name for name in PINNED if name not in present] == []


@pytest.mark.parametrize("exporter", ["otlp_grpc/tempo", "otlp_grpc/jaeger", "otlp_http/prometheus"])
def test_queues_are_measured_in_bytes(stack: Stack, exporter: str) -> None:
    """A queue's capacity is the gigabyte of the configuration, neither a number of requests nor of spans."""
    samples = stack.collector.metrics()
    assert total(samples, "otelcol_exporter_queue_capacity", exporter=exporter) == 1024**3


def test_scraped_counter_keeps_its_name_in_prometheus(stack: Stack) -> None:
    """The name in the collector's page is the name that a rule finds in Prometheus."""
    send_traces(stack.collector.url, "scraped", 1)
    accepted = stack.collector.wait_for_metric("otelcol_receiver_accepted_spans_total", SPANS)
    stack.prometheus.wait_for_value('sum(otelcol_receiver_accepted_spans_total{job="otel-collector"})', accepted)


def test_healthy_backends_get_each_span_once(stack: Stack) -> None:
    """Without a failure every exporter sends exactly the spans that the receiver accepted."""
    send_traces(stack.collector.url, "once", 20)
    accepted = total(stack.collector.metrics(), "otelcol_receiver_accepted_spans_total")
    assert accepted is not None
    for exporter in ("otlp_grpc/tempo", "otlp_grpc/jaeger"):
        sent = stack.collector.wait_for_metric("otelcol_exporter_sent_spans_total", accepted, exporter=exporter)
        assert sent == accepted
