"""Where a service's metrics are served."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import Start
from tests.programs import STOCK
from tests.servers import OtlpSink


def test_metrics_are_served_on_loopback_only(start: Start) -> None:
    """Without being told otherwise /metrics listens on 127.0.0.1 alone."""
    with OtlpSink() as sink:
        orders = start("orders", (*STOCK, "python", "-m", "shop.orders"), sink.url)
        listening = [
            line.split()[1]
            for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
            if line.split()[3] == "0A" and int(line.split()[1].partition(":")[2], 16) == orders.metrics_port
        ]
        assert listening == [f"0100007F:{orders.metrics_port:04X}"]
