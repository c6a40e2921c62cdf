"""The stop of a collector that is scaled away: `otelcol-start --drain`, which the manifests run before the signal."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from scripts.collectorgen.choices import Choice
from tests.collector.generated import GeneratedCollector
from tests.collector.traffic import send_traces
from tests.servers import RecorderServer
from tests.servers.binaries import collector_start_binary

if TYPE_CHECKING:
    from pathlib import Path

    from tests.otlp_servers import Certificates


def drain(port: int, limit: str) -> subprocess.CompletedProcess[str]:
    """Run it as the kubelet does, with the collector's own variables."""
    env = {"PATH": os.environ["PATH"], "OTELCOL_TELEMETRY_HOST": "0.0.0.0", "OTELCOL_TELEMETRY_PORT": str(port)}
    command = [collector_start_binary(), "--drain", limit]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_it_waits_until_the_queue_is_empty(certificates: Certificates, logs: Path) -> None:
    """While the gateway is away it says how much stays on the disk; then all is delivered before it ends."""
    with RecorderServer(logs, "gateway") as gateway:
        env = {"OTELCOL_GATEWAY_ENDPOINT": gateway.otlp_endpoint}
        with GeneratedCollector(logs, Choice("agent"), certificates, env=env) as agent:
            gateway.behave(code=14)
            send_traces(agent.url, "draining", 5)
            agent.wait_for_metric("otelcol_exporter_queue_size", 1)
            left = drain(agent.ports["telemetry"], "1s")
            assert left.returncode == 1
            assert "bytes are still queued after 1s and stay on the disk" in left.stderr
            gateway.behave()
            assert drain(agent.ports["telemetry"], "55s").returncode == 0
            agent.wait_for_metric("otelcol_exporter_sent_spans_total", 10, seconds=1)


def test_a_limit_that_is_none_is_named() -> None:
    """A typing error is one line, and no wait."""
    done = drain(1, "soon")
    assert done.returncode == 1
    assert done.stderr.startswith("otelcol-start: --drain takes a duration like 90s")


def test_a_collector_that_does_not_answer_is_no_empty_queue() -> None:
    """Nothing is said of a number that nobody knows."""
    done = drain(1, "100ms")
    assert done.returncode == 1
    assert done.stderr.startswith("otelcol-start: after 100ms nobody knows what is queued; it stays on the disk: Get")
    assert len(done.stderr.splitlines()) == 1
