"""Where `status()` says that `/metrics` is: what a scrape would find, not what was asked for."""

from __future__ import annotations

import socket

import pytest

from tests.programs import run
from tests.servers.base import free_port

PROGRAM = """
import asyncio, otel_distro
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from opentelemetry import metrics
metrics.get_meter("shop").create_counter("orders").add(1)
app = FastAPI()
app.get("/own")(lambda: "the application's")
async def scrape():
    async with AsyncClient(transport=ASGITransport(app), base_url="http://application") as client:
        await client.get("/own")
asyncio.run(scrape())
[part] = [part for part in otel_distro.status().parts if part.name == "/metrics"]
print(part.on, part.detail)
"""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"OTEL_EXPORTER_PROMETHEUS_PORT": "{free}"}, "True 127.0.0.1:{free}"),
        ({"OTEL_EXPORTER_PROMETHEUS_PORT": "{taken}"}, "False 127.0.0.1:{taken} cannot be bound"),
        ({"OTEL_DISTRO_METRICS_ROUTE": "/metrics"}, "True /metrics on the application's port"),
        ({"OTEL_DISTRO_METRICS_ROUTE": "/own"}, "False /own the application's own route"),
        (
            {"OTEL_DISTRO_METRICS_ROUTE": "/own", "OTEL_EXPORTER_PROMETHEUS_PORT": "{free}"},
            "True 127.0.0.1:{free}; /own the application's own route",
        ),
    ],
    ids=["port", "taken port", "route", "the application's route", "both"],
)
def test_the_page_of_metrics_is_where_status_says(settings: dict[str, str], expected: str) -> None:
    """A port that somebody else has and a route that stays the application's answer no scrape."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = {"free": free_port(), "taken": other.getsockname()[1]}
        chosen = {name: text.format(**ports) for name, text in settings.items()}
        done = run(PROGRAM, OTEL_METRICS_EXPORTER="prometheus", OTEL_TRACES_EXPORTER="none", **chosen)
    assert done.stdout.strip() == expected.format(**ports), done.stderr
