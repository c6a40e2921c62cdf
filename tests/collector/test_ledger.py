"""The ledger's queries, as the page gives them, asked of a real Prometheus, over kills and replicas."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.collectorgen.choices import Choice
from tests.collector.drills.faults import full_queue
from tests.collector.drills.rig import Rig
from tests.collector.drills.senders import SdkSender
from tests.servers import PrometheusServer, wait_until

if TYPE_CHECKING:
    from tests.otlp_servers import Certificates

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "collector.md"
_SMALL = {"OTELCOL_QUEUE_BYTES": "2000000"}


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
