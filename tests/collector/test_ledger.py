"""The ledger's queries, as the page gives them, asked of a real Prometheus, over kills and replicas."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics

from scripts.collectorgen.choices import Choice
from tests.collector.drills.faults import full_queue
from tests.collector.drills.rig import Rig
from tests.collector.drills.senders import SdkSender
from tests.collector.generated import GeneratedCollector
from tests.servers import Answer, OtlpSink, PrometheusServer, http_post, total, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.otlp_servers import Certificates

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "collector.md"
# Span metrics come when they come, and nobody takes them here: only spans are counted.
_SMALL = {"OTELCOL_QUEUE_BYTES": "2000000", "OTELCOL_SPAN_METRICS_INTERVAL": "10m"}


def queries() -> tuple[str, str, str]:
    """The three queries of docs/collector.md: missing, not received, why."""
    first, second, third = re.findall(r"```promql\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    return first, second, third


def answers(prometheus: PrometheusServer, query: str) -> dict[tuple[str, ...], float]:
    """Values of a query by the values of its labels, in the order of their names."""
    return {
        tuple(sample.labels[name] for name in sorted(sample.labels)): sample.value for sample in prometheus.query(query)
    }


def test_queries_are_right_to_the_span_over_replicas_and_kill(certificates: Certificates, tmp_path: Path) -> None:
    """Two gateways, one killed and started again, one queue full: missing is 0, and why is what is not there."""
    missing, _, why = queries()
    with ExitStack() as running:
        rigs = [running.enter_context(Rig(tmp_path / name, certificates, Choice("gateway"), _SMALL)) for name in "ab"]
        targets = [rig.collector.telemetry_target for rig in rigs]
        prometheus = running.enter_context(PrometheusServer(tmp_path, (), targets))
        full_queue(rigs[0])
        rigs[1].sender.send(100)
        rigs[1].settle()
        rigs[1].collector.kill()
        rigs[1].collector.start()
        rigs[1].sender.send(60)
        for rig in rigs:
            rig.settle()
        dropped = rigs[0].outcome("", "").fates["tempo"].dropped["queue_full"]
        assert 0 < dropped < 300
        expected = {("dropped", "queue_full"): float(dropped)}

        def seen() -> bool:
            reasons = {key[1:]: value for key, value in answers(prometheus, why).items() if key[0] == "tempo" and value}
            reasons = {(stage, reason): value for (reason, stage), value in reasons.items()}
            return reasons == expected and set(answers(prometheus, missing).values()) == {0.0}

        # 300 of the one, 160 of the other, in two backends: the target that was killed is scraped again
        prometheus.wait_for_value('sum(otelcol_ledger_items_total{stage="received"})', 2 * (300 + 160))
        wait_until(seen, seconds=15, what="both queries to be right")


def test_what_an_application_has_produced_is_what_was_received(certificates: Certificates, tmp_path: Path) -> None:
    """The second query counts from the distro's own counter on: 0 when all has come, negative when more has."""
    _, not_received, _ = queries()
    pushed = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "1000"}
    with PrometheusServer(tmp_path) as prometheus:
        gateway = {"PROMETHEUS_OTLP_ENDPOINT": prometheus.otlp_url}
        with Rig(tmp_path / "gateway", certificates, env=gateway) as rig:
            stranger = rig.sender
            rig.sender = application = SdkSender("ours", rig.collector.url, tmp_path, pushed)
            prometheus.scrape(collectors=[rig.collector.telemetry_target])
            application.send(50)
            prometheus.wait_for_value("sum(otel_distro_span_produced_total)", 50)
            prometheus.wait_for_value(not_received, 0)
            stranger.send(20)
            prometheus.wait_for_value(not_received, -20)


def gauge_points(count: int) -> bytes:
    """A request with so many points."""
    points = [NumberDataPoint(time_unix_nano=time.time_ns(), as_int=number) for number in range(count)]
    metric = Metric(name="depth", gauge=Gauge(data_points=points))
    group = ResourceMetrics(scope_metrics=[ScopeMetrics(metrics=[metric])])
    return ExportMetricsServiceRequest(resource_metrics=[group]).SerializeToString()


def test_points_have_an_account_from_the_agent_to_prometheus(certificates: Certificates, tmp_path: Path) -> None:
    """Received, delivered and dropped by code, to the point, in the agent (gRPC) and in the gateway (HTTP)."""
    with OtlpSink() as prometheus:
        env: Mapping[str, str] = _SMALL | {"PROMETHEUS_OTLP_ENDPOINT": prometheus.url}
        with GeneratedCollector(tmp_path, Choice("gateway"), certificates, env=env) as gateway:
            leads_there = {"OTELCOL_GATEWAY_ENDPOINT": f"127.0.0.1:{gateway.ports['grpc']}"}
            with GeneratedCollector(tmp_path, Choice("agent"), certificates, env=leads_there) as agent:
                for points, answer in ((30, Answer()), (12, Answer(400))):
                    prometheus.answer = answer
                    headers = {"Content-Type": "application/x-protobuf"}
                    assert http_post(f"{agent.url}/v1/metrics", gauge_points(points), headers) == 200
                    stage = (
                        {"stage": "delivered"} if answer.status == 200 else {"stage": "dropped", "reason": "HTTP 400"}
                    )
                    gateway.wait_for_metric("otelcol_ledger_items_total", points, signal="metrics", **stage)
                for collector, backend, delivered in ((agent, "gateway", 42), (gateway, "prometheus", 30)):
                    account = {"signal": "metrics", "backend": backend}
                    seen = collector.metrics()
                    assert total(seen, "otelcol_ledger_items_total", side="in", **account) == 42
                    assert total(seen, "otelcol_ledger_items_total", side="out", **account) == 42
                    assert total(seen, "otelcol_ledger_items_total", stage="delivered", **account) == delivered
