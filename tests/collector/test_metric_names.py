"""The contract of the collector's own metrics: every name that a rule, dashboard or page uses is in a real scrape."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts.collectorgen.choices import Choice
from tests import promql
from tests.collector.drills.rig import Rig
from tests.collector.drills.senders import BareSender
from tests.collector.generated import TOKEN, GeneratedCollector
from tests.collector.traffic import request_body, send_traces
from tests.servers import Answer, CollectorServer, OtlpSink, RecorderServer, http_post, total, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.otlp_servers import Certificates
    from tests.servers import Sample

ROOT = Path(__file__).resolve().parents[2]
# Of the collector alone: an application has http_server_request_duration_seconds as well, but not these prefixes.
_NAME = re.compile(r"\b(?:otelcol|rpc_server_call|rpc_client_call)_[a-z0-9_]*[a-z0-9]\b")
_ENDINGS = {".yml", ".yaml", ".json", ".md"}
#: Names that exist where something is installed or has gone wrong that no drill brings about here, with their source.
ELSEWHERE = {
    "otelcol_exporter_enqueue_failed_log_records_total": "exporterhelper documentation.md",
    "otelcol_exporter_enqueue_failed_metric_points_total": "exporterhelper documentation.md",
    "otelcol_receiver_refused_log_records_total": "receiverhelper documentation.md",
    "otelcol_receiver_refused_metric_points_total": "receiverhelper documentation.md",
    "otelcol_exporter_send_failed_log_records_total": "exporterhelper documentation.md",
    "otelcol_exporter_sent_log_records_total": "exporterhelper documentation.md",
    "otelcol_processor_memory_limiter_refused_metric_points_total": "memorylimiterprocessor documentation.md",
    "otelcol_processor_memory_limiter_refused_log_records_total": "memorylimiterprocessor documentation.md",
    "otelcol_kafka_traces_age_seconds": "tests/collector/test_kafka.py",
    "otelcol_kafka_traces_lag": "tests/collector/test_kafka.py",
}


@pytest.fixture(scope="module")
def scrapes(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Sample]]:
    """Scrapes of two collectors after what moves counters: deliveries, refusals, full queues, bad logins, garbage."""
    folder = tmp_path_factory.mktemp("scrapes")
    found = {}
    small = {"OTELCOL_QUEUE_BYTES": "1500000"}
    speaking = {"certificate": certificates.server}
    with Rig(folder / "gateway", certificates, Choice("gateway", tls="tls", token=True), small, speaking) as rig:
        rig.sender.send(40)
        rig.sender.post(b"\xff" * 50, set())
        rig.sender._headers = rig.sender._headers | {"Authorization": "Bearer wrong"}
        rig.sender.send(20)
        _stranger(rig, folder, certificates)
        rig.settle()
        found["login"] = rig.samples()
    quick = small | {"OTELCOL_SAMPLING_WAIT": "1s", "OTELCOL_SAMPLING_PERCENT": "100"}
    with Rig(folder / "plain", certificates, Choice("sampling"), quick) as rig:
        rig.tempo.behave(code=16)
        rig.sender.send(40)
        rig.collector.wait_for_metric("otelcol_ledger_items_total", 40, stage="parked")
        for backend in rig.backends.values():
            backend.behave(code=14)
        for _ in range(3):
            rig.sender.send_spans([bytes([place]) * 8 for place in range(1, 21)], dict.fromkeys(range(20), 50_000))
        # decided, and refused by queues that are too small for it
        rig.collector.wait_for_metric("otelcol_ledger_items_total", 1, stage="dropped", reason="queue_full")
        time.sleep(3)  # for the exporters' own counters
        found["faults"] = rig.samples()
    found["plain"] = _plain(folder)
    found["refused"] = _refused(folder, certificates)
    found["limited"] = _limited(folder, certificates)
    return found


def _refused(folder: Path, certificates: Certificates) -> list[Sample]:
    """A gateway whose Prometheus answers 400 and whose Sentry 403, both for good: nothing is parked for them."""
    with OtlpSink() as prometheus, OtlpSink() as sentry:
        prometheus.answer, sentry.answer = Answer(400), Answer(403)
        env = {
            "PROMETHEUS_OTLP_ENDPOINT": prometheus.url,
            "SENTRY_OTLP_TRACES_ENDPOINT": f"{sentry.url}/v1/traces/",
            "OTELCOL_SPAN_METRICS_INTERVAL": "500ms",
        }
        with GeneratedCollector(folder, Choice("gateway", sentry=True), certificates, env=env) as collector:
            send_traces(collector.url, "refused", 1)
            collector.wait_for_metric(
                "otelcol_exporter_send_failed_metric_points_total", 1, exporter="otlp_http/prometheus"
            )
            collector.wait_for_metric("otelcol_exporter_send_failed_spans_total", 2, exporter="otlp_http/sentry")
            return collector.metrics()


def _plain(folder: Path) -> list[Sample]:
    """The plain configuration, whose exporter counts by code what a backend refuses for good."""
    backend = RecorderServer(folder, "refusing")
    collector = CollectorServer(folder, env={"TEMPO_OTLP_ENDPOINT": backend.otlp_endpoint})
    with backend, collector:
        backend.behave(code=16)
        send_traces(collector.url, "plain", 1)
        failed = "otelcol_exporter_send_failed_spans_total"
        collector.wait_for_metric(failed, 2, error_type="Unauthenticated", error_permanent="true")
        return collector.metrics()


def _limited(folder: Path, certificates: Certificates) -> list[Sample]:
    """A gateway that is beyond its memory limit from the start on: it refuses all that comes."""
    collector = GeneratedCollector(folder, Choice("gateway"), certificates, name="limited")
    limits = {"check_interval": "100ms", "limit_mib": 2, "spike_limit_mib": 1}
    collector.arguments = (f"--config=yaml:{json.dumps({'processors': {'memory_limiter': limits}})}",)
    with collector:
        answer = f"{collector.url}/v1/traces", request_body("limited"), {"Content-Type": "application/x-protobuf"}
        wait_until(lambda: http_post(*answer) == 503, seconds=10, what="the limiter to refuse")
        return collector.metrics()


def _stranger(rig: Rig, folder: Path, certificates: Certificates) -> None:
    """An agent that shows the gateway a wrong token, by gRPC."""
    wrong = folder / "wrong"
    wrong.write_text("wrong")
    env = {
        "OTELCOL_GATEWAY_ENDPOINT": f"127.0.0.1:{rig.collector.ports['grpc']}",
        "OTELCOL_EXPORTER_TOKEN_FILE": str(wrong),
    }
    with GeneratedCollector(folder, Choice("agent", tls="tls", token=True), certificates, env=env) as agent:
        BareSender(agent.url, certificates.authority, TOKEN).send(20)
        agent.wait_for_metric("otelcol_ledger_items_total", 20, stage="parked", reason="Unauthenticated")


def used_names() -> Iterator[tuple[str, str]]:
    """Name and file of every internal metric that deploy/ and docs/ speak of."""
    for folder in ("deploy", "docs"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in _ENDINGS:
                for name in sorted(set(_NAME.findall(path.read_text()))):
                    yield name, str(path.relative_to(ROOT))


def test_every_name_in_use_is_scraped(scrapes: dict[str, list[Sample]]) -> None:
    """A name that an upgrade renames fails here, not in an alert that never fires."""
    known = {sample.name for samples in scrapes.values() for sample in samples} | set(ELSEWHERE)
    used = list(used_names())
    assert len(used) > 5
    assert [(name, path) for name, path in used if name not in known] == []


_BY_PROMETHEUS = {"job", "instance"}
#: Not of a collector: Prometheus' own, and the counter of the distro's applications.
_OTHERS = {"up", "otel_distro_span_produced_total"}


def expressions() -> Iterator[str]:
    """Every expression of the collectors' rules and dashboard."""
    yield from (rule["expr"] for rule in promql.rules("collector.yml"))
    board = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "collector.json").read_text())
    yield from (target["expr"] for panel in board["panels"] for target in panel["targets"])


def test_every_name_and_label_of_rules_and_dashboard_is_scraped(scrapes: dict[str, list[Sample]]) -> None:
    """Also names that applications have as well, and the labels: an alert on a label that is gone never fires."""
    labels: dict[str, set[str]] = {}
    for sample in (sample for samples in scrapes.values() for sample in samples):
        labels.setdefault(sample.name, set()).update(sample.labels)
    used = [found for text in expressions() for found in promql.selected(text) if found[0] not in _OTHERS]
    assert len(used) > 20
    gone = [name for name, _ in used if name not in labels and name not in ELSEWHERE]
    assert gone == []
    for name, selector in used:
        if name in labels:
            assert promql.labels(selector) - _BY_PROMETHEUS <= labels[name], (name, selector)


def test_every_expression_names_its_metrics_with_braces() -> None:
    """A metric without braces would pass the test above unseen."""
    assert [(text, promql.bare(text)) for text in expressions() if promql.bare(text)] == []


def test_names_end_as_published_rules_expect(scrapes: dict[str, list[Sample]]) -> None:
    """Counters end in _total: since 0.152 the defaults drop that."""
    for name in ("otelcol_exporter_sent_spans", "otelcol_receiver_accepted_spans"):
        for samples in (scrapes["login"], scrapes["faults"]):
            assert total(samples, f"{name}_total") is not None
            assert total(samples, name) is None


def test_refusals_are_counted_where_we_say(scrapes: dict[str, list[Sample]]) -> None:
    """Wrong logins and garbage move the server's histogram alone, at level detailed; refused_spans stays at 0."""
    samples = scrapes["login"]
    duration = "http_server_request_duration_seconds_count"
    assert total(samples, duration, http_response_status_code="401") == 1
    assert total(samples, duration, http_response_status_code="400") == 1
    calls = "rpc_server_call_duration_seconds_count"
    assert total(samples, calls, rpc_response_status_code="UNAUTHENTICATED")
    assert not total(samples, "otelcol_receiver_refused_spans_total")


def test_what_a_client_calls_a_collector_is_no_label(scrapes: dict[str, list[Sample]]) -> None:
    """Host headers are a stranger's choice: 6,000 of them made a page of 28 MB, without codes of others."""
    for samples in scrapes.values():
        served = [sample for sample in samples if sample.name.startswith(("http_server_", "rpc_server_"))]
        assert served
        assert not {"server_address", "server_port"} & {label for sample in served for label in sample.labels}


def test_what_is_not_parked_is_counted_by_its_code(scrapes: dict[str, list[Sample]]) -> None:
    """Points that Prometheus and spans that Sentry refuse for good: by exporter and code, not by a log line alone."""
    samples = scrapes["refused"]
    points, spans = (f"otelcol_exporter_send_failed_{items}_total" for items in ("metric_points", "spans"))
    assert total(samples, points, error_permanent="true", error_type="InvalidArgument", exporter="otlp_http/prometheus")
    assert (
        total(samples, spans, error_permanent="true", error_type="PermissionDenied", exporter="otlp_http/sentry") == 2
    )
    account = {"signal": "traces", "backend": "sentry"}
    assert total(samples, "otelcol_ledger_items_total", stage="received", **account) == 2
    assert total(samples, "otelcol_ledger_items_total", stage="dropped", reason="HTTP 403", **account) == 2


def test_a_drop_is_counted_by_its_reason(scrapes: dict[str, list[Sample]]) -> None:
    """What a full queue and a code cost stands in the ledger, each under its name."""
    samples = scrapes["faults"]
    assert total(samples, "otelcol_ledger_items_total", stage="parked", reason="Unauthenticated") == 40
    assert total(samples, "otelcol_ledger_items_total", stage="dropped", reason="queue_full")
    assert total(samples, "otelcol_isolate_dropped_items_total", reason="queue_full")
    assert total(samples, "otelcol_park_batches", backend="tempo")
