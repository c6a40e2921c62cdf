"""The demo without any server installed: SQLite, a Redis server in Python, and a receiver of our own."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from . import story
from .children import Family, Janitor, accepts, free_ports
from .options import Options
from .receiver import Traces, receiving
from .screen import Screen
from .services import Backends, python_environment, start_services

NEXT = (
    "./scripts/demo --keep     leaves the services running and draws every request you make",
    "./scripts/demo --stack    the same against the collector, Jaeger, Prometheus, Redis and PostgreSQL",
    "your own service          pip install otel-distro, then opentelemetry-instrument uvicorn your.app:app",
)


def run(screen: Screen, directory: Path, options: Options) -> None:
    """Start, send, show; with `keep`, go on until interrupted.

    Args:
        screen: where to write.
        directory: for databases and logs.
        options: what was asked for.
    """
    chosen = free_ports(options.ports | {"redis": None})
    traces = Traces()
    with receiving(traces) as otlp, Janitor(directory) as janitor, Family(directory, janitor) as family:
        screen.say("starting a Redis server in Python, and orders and inventory under opentelemetry-instrument")
        _start_redis(family, chosen["redis"])
        backends = Backends(
            otlp=otlp,
            redis=f"redis://127.0.0.1:{chosen['redis']}/0",
            orders_database="sqlite:///orders.db",
            inventory_database="sqlite:///inventory.db",
        )
        services = start_services(family, chosen, backends)
        sent = story.send_traffic(screen, chosen["orders"], options.rounds, services)
        story.save_picture(options.picture, story.show_traces(screen, traces))
        story.show_metrics(screen, chosen, sent)
        if not options.keep:
            story.show_next(screen, NEXT)
            return
        story.show_next(screen, _addresses(chosen))
        traces.take(quiet=0)
        while True:
            for service in services:
                service.check()
            story.follow(screen, traces)
            time.sleep(0.2)


def _start_redis(family: Family, port: int) -> None:
    command = [sys.executable, "-m", "examples.demo.redis_server", str(port)]
    family.start("redis", command, python_environment()).wait_until(lambda: accepts(port))


def _addresses(ports: dict[str, int]) -> list[str]:
    orders = f"http://127.0.0.1:{ports['orders']}"
    return [
        f"{orders}/docs    the API of orders: each request you make is drawn here",
        f"curl {orders}/report",
        f"curl http://127.0.0.1:{ports['orders-metrics']}/metrics",
        "Ctrl-C ends everything",
    ]
