"""What single requests leave behind: errors with their exception, streams to their end, nothing where excluded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.e2e.conftest import LOGS, Start, starting
from tests.e2e.service import Service
from tests.e2e.test_launches import UVICORN
from tests.e2e.traces import new_trace, one
from tests.programs import OURS, STOCK
from tests.servers import OtlpSink, Stack
from tests.servers.waiting import wait_until


@pytest.fixture(scope="module")
def orders(data: Mapping[str, str], stack: Stack, inventory: Service) -> Iterator[Service]:
    with starting(data, LOGS / "requests") as start:
        yield start("orders", (*STOCK, *UVICORN), stack.collector.url, INVENTORY_URL=inventory.url)


def test_an_unhandled_exception_is_on_the_span(orders: Service, stack: Stack) -> None:
    """A request that raises is a server span with status ERROR, its error type and the exception as an event."""
    created = orders.call("/orders", method="POST", body={"customer_id": 2, "sku": "tea", "quantity": 1}).json()
    trace_id, headers = new_trace()
    assert orders.call(f"/orders/{created['id']}/invoice", headers=headers).status == 500
    for backend in stack.backends:
        spans = backend.wait_for_trace(trace_id, spans=3)
        server = one(spans, "orders", "GET /orders/{order_id}/invoice")
        assert server.status == "ERROR"
        assert server.attributes["error.type"] == "KeyError"
        assert server.attributes["http.response.status_code"] == 500
        (event,) = [event for event in server.events if event.name == "exception"]
        assert event.attributes["exception.type"] == "KeyError"
        assert "read_invoice" in event.attributes["exception.stacktrace"]


def test_an_answer_of_4xx_is_not_an_error_of_the_server(orders: Service, stack: Stack) -> None:
    """404 leaves the status of a server span unset (semantic conventions, HTTP spans)."""
    trace_id, headers = new_trace()
    assert orders.call("/orders/999999", headers=headers).status == 404
    server = one(stack.jaeger.wait_for_trace(trace_id, spans=2), "orders", "GET /orders/{order_id}")
    assert server.status == "UNSET"
    assert server.attributes["http.response.status_code"] == 404


def test_a_stream_is_one_span_until_its_end(orders: Service, stack: Stack) -> None:
    """A streamed answer is one server span, its query a child of it."""
    trace_id, headers = new_trace()
    assert orders.call("/export", headers=headers).status == 200
    spans = stack.jaeger.wait_for_trace(trace_id, spans=2)
    server = one(spans, "orders", "GET /export")
    query = one(spans, "orders", "SELECT orders")
    assert query.parent_span_id == server.span_id
    assert server.end_unix_nano >= query.end_unix_nano


def test_excluded_requests_leave_no_trace(start: Start, stack: Stack) -> None:
    """The demo's own health checks are excluded and make no span at all."""
    with OtlpSink() as sink:
        orders = start("orders", (*STOCK, *UVICORN), sink.url)
        for _ in range(5):
            assert orders.call("/health").status == 200
        assert orders.call("/orders/1").status in {200, 404}
        wait_until(lambda: [span for span in sink.spans if span.kind == "SERVER"], seconds=10, what="the other request")
        time.sleep(0.5)
        assert not [span.name for span in sink.spans if "health" in span.name]


@pytest.mark.parametrize("launcher", [STOCK, OURS], ids=["stock", "ours"])
def test_the_upstream_pipeline_delivers_the_same_requests(launcher: tuple[str, ...], start: Start) -> None:
    """OTEL_DISTRO_PIPELINE=upstream runs the unmodified SDK and contrib: joined traces, one server span a request."""
    with OtlpSink() as sink:
        upstream = {"OTEL_DISTRO_PIPELINE": "upstream"}
        inventory = start("inventory", (*launcher, "python", "-m", "shop.inventory"), sink.url, **upstream)
        orders = start("orders", (*launcher, *UVICORN), sink.url, INVENTORY_URL=inventory.url, **upstream)
        trace_id, headers = new_trace()
        assert orders.call("/products/tea", headers=headers).status == 200
        arrived: Callable[[], list[str]] = lambda: sorted(  # noqa: E731 - said once, used twice
            f"{span.service} {span.name}" for span in sink.spans if span.trace_id == trace_id and span.kind == "SERVER"
        )
        wait_until(lambda: "orders GET /products/{sku}" in arrived(), seconds=10, what="the server span")
        assert len(arrived()) == len(set(arrived()))
