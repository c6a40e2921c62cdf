"""How a service ends: whatever it saw until then has left, in time, and its exit code is its own."""

from __future__ import annotations

import signal
import time

import pytest

from tests.e2e.conftest import Start
from tests.e2e.test_launches import LAUNCHES
from tests.programs import OURS, STOCK
from tests.servers import OtlpSink, wait_until

NEVER_BY_ITSELF = {"OTEL_BSP_SCHEDULE_DELAY": "60000"}


@pytest.mark.parametrize("launch", LAUNCHES.values(), ids=LAUNCHES)
def test_sigterm_straight_after_a_burst_loses_nothing(launch: tuple[str, ...], start: Start) -> None:
    """20 of 20 requests before a SIGTERM vanish upstream (verified 14); here every one arrives."""
    with OtlpSink() as sink:
        orders = start("orders", launch, sink.url, **NEVER_BY_ITSELF)
        for number in range(20):
            orders.call(f"/orders/{number}")
        orders.stop(signal.SIGTERM)
        names = [span.name for span in sink.spans if span.kind == "SERVER"]
        assert names == ["GET /orders/{order_id}"] * 20


@pytest.mark.parametrize("launcher", [STOCK, OURS], ids=["stock", "ours"])
def test_a_dead_collector_costs_a_line_and_its_loss_another(launcher: tuple[str, ...], start: Start) -> None:
    """Without a collector the service works and says so; on SIGTERM it says what is lost, within the budget."""
    orders = start("orders", (*launcher, "python", "-m", "shop.orders"), "http://127.0.0.1:9")
    for number in range(5):
        assert orders.call(f"/orders/{900_000 + number}").status == 404
    wait_until(lambda: "127.0.0.1:9" in orders.log(), seconds=20, what="the line about the collector")
    began = time.monotonic()
    orders.stop(signal.SIGTERM)
    assert time.monotonic() - began < 25
    ours = [line for line in orders.log().splitlines() if "otel-distro" in line]
    assert len(ours) == 2, "\n".join(ours)
    assert "127.0.0.1:9" in ours[0]
    assert "spans were not delivered" in ours[1]
    assert "Traceback" not in orders.log()


def test_sigint_ends_a_script_with_its_telemetry(start: Start) -> None:
    """Ctrl-C is a normal end for uvicorn: spans leave, too."""
    with OtlpSink() as sink:
        orders = start("orders", LAUNCHES["uvicorn"], sink.url, **NEVER_BY_ITSELF)
        orders.call("/orders/1")
        orders.stop(signal.SIGINT)
        assert [span.name for span in sink.spans if span.kind == "SERVER"] == ["GET /orders/{order_id}"]
