"""Every way people start a service: the same trace, joined, in both backends, nothing doubled; each request counted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pytest

from tests.e2e.conftest import LOGS, starting
from tests.e2e.service import Service
from tests.e2e.traces import Node, new_trace, one, text, tree
from tests.programs import OURS, STOCK
from tests.servers import Stack
from tests.servers.signals import SpanRecord

UVICORN = ("uvicorn", "shop.orders:app", "--port", "{port}")
GUNICORN = ("gunicorn", "shop.orders:app", "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:{port}")
LAUNCHES = {
    "python": (*STOCK, "python", "-m", "shop.orders"),
    "otel-distro run": (*OURS, "python", "-m", "shop.orders"),
    "uvicorn": (*STOCK, *UVICORN),
    "otel-distro run uvicorn": (*OURS, *UVICORN),
    "uvicorn --workers": (*STOCK, *UVICORN, "--workers", "4"),
    "otel-distro run uvicorn --workers": (*OURS, *UVICORN, "--workers", "2"),
    "uvicorn --reload": (*STOCK, *UVICORN, "--reload"),
    "gunicorn": (*STOCK, *GUNICORN, "-w", "2"),
    "gunicorn --preload": (*STOCK, *GUNICORN, "-w", "3", "--preload"),
}

SKU = "cup"

ORDER = Node(
    "orders SERVER POST /orders",
    (
        Node("orders CLIENT SELECT customers"),
        Node("orders CLIENT GET"),
        Node(
            "orders CLIENT GET",
            (Node("inventory SERVER GET /products/{sku}", (Node("inventory CLIENT SELECT products"),)),),
        ),
        Node("orders CLIENT SET"),
        Node(
            "orders CLIENT POST",
            (
                Node(
                    "inventory SERVER POST /reservations",
                    (
                        Node("inventory CLIENT SELECT products"),
                        Node("inventory CLIENT UPDATE products"),
                        Node("inventory CLIENT INSERT reservations"),
                    ),
                ),
            ),
        ),
        Node("orders CLIENT INSERT orders"),
        Node(
            "orders INTERNAL BackgroundTask confirm",
            (Node("orders CLIENT SELECT orders"), Node("orders CLIENT UPDATE orders")),
        ),
    ),
)
"""One order for a product that is not in the cache; the last is the background task."""


def count(node: Node) -> int:
    return 1 + sum(count(child) for child in node.below)


@pytest.fixture(scope="module", params=LAUNCHES)
def orders(
    request: pytest.FixtureRequest, data: Mapping[str, str], stack: Stack, inventory: Service
) -> Iterator[Service]:
    """The first service, started in one of the ways."""
    with starting(data, LOGS / re.sub(r"\W+", "-", f"launch {request.param}")) as start:
        yield start("orders", LAUNCHES[request.param], stack.collector.url, INVENTORY_URL=inventory.url)


def test_one_order_is_the_same_trace_however_the_service_was_started(orders: Service, stack: Stack) -> None:
    """One request gives exactly its tree of spans over both services, in both backends."""
    trace_id, headers = new_trace()
    wanted = {"customer_id": 1, "sku": SKU, "quantity": 1}
    assert orders.call("/orders", method="POST", body=wanted, headers=headers).status == 201
    for backend in stack.backends:
        spans = backend.wait_for_trace(trace_id, spans=count(ORDER))
        assert text(tree(spans)) == text([ORDER]), f"in {backend.name}"
        check_attributes(spans)


def check_attributes(spans: list[SpanRecord]) -> None:
    """Stable semantic conventions, and no value of the request beyond its route."""
    server = one(spans, "orders", "POST /orders")
    assert server.attributes["http.request.method"] == "POST"
    assert server.attributes["http.route"] == "/orders"
    assert server.attributes["http.response.status_code"] == 201
    assert server.attributes["url.scheme"] == "http"
    assert server.status == "UNSET"
    insert = one(spans, "orders", "INSERT orders")
    assert insert.attributes["db.system.name"] == "postgresql"
    assert SKU not in insert.attributes["db.query.text"]
    redis = one(spans, "orders", "SET")
    assert redis.attributes["db.system.name"] == "redis"
    assert SKU not in str(redis.attributes)
    assert {span.resource["service.name"] for span in spans} == {"orders", "inventory"}
    assert len({span.resource["service.instance.id"] for span in spans}) == 2
    assert len({span.span_id for span in spans}) == len(spans)


COUNT = (
    'sum(http_server_request_duration_seconds_count{{job=~".*",http_route="/orders/{{order_id}}",instance="{target}"}})'
)


def test_prometheus_counts_every_request(orders: Service, stack: Stack) -> None:
    """41 requests sent are 41 requests counted, however many processes answered (upstream shows 0 with several)."""
    stack.prometheus.scrape(apps=[orders.metrics_target])
    for number in range(41):
        orders.call(f"/orders/{number}")
    stack.prometheus.wait_for_value(COUNT.format(target=orders.metrics_target), 41, seconds=20)
