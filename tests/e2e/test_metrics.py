"""Prometheus shows the number of requests that was sent, however many processes answered them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import Start
from tests.e2e.service import STOCK
from tests.e2e.test_launches import LAUNCHES
from tests.servers import OtlpSink, Stack

REQUESTS = 41
COUNT = (
    'sum(http_server_request_duration_seconds_count{{job=~".*",http_route="/orders/{{order_id}}",instance="{target}"}})'
)


@pytest.mark.parametrize("launch", LAUNCHES.values(), ids=LAUNCHES)
def test_prometheus_counts_every_request(launch: tuple[str, ...], start: Start, stack: Stack) -> None:
    """41 requests sent are 41 requests counted (upstream shows 0 with several workers)."""
    with OtlpSink() as sink:
        orders = start("orders", launch, sink.url)
        stack.prometheus.scrape(apps=[orders.metrics_target])
        for number in range(REQUESTS):
            orders.call(f"/orders/{number}")
        stack.prometheus.wait_for_value(COUNT.format(target=orders.metrics_target), REQUESTS, seconds=20)


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
