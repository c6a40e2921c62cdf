"""The two services as the demo runs them: the usual command behind one prefix, and environment variables."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .children import Child, Family, answers
from .errors import DemoError

EXAMPLES = Path(__file__).resolve().parents[1]
LAUNCHER = Path(sys.executable).with_name("opentelemetry-instrument")

#: What has to be importable, by the requirement that brings it.
_NEEDED = {
    "otel_distro": "otel-distro",
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "httpx": "httpx",
    "redis": "redis",
    "sqlalchemy": "sqlalchemy",
    "greenlet": "greenlet",
    "aiosqlite": "aiosqlite",
    "fakeredis": "fakeredis",
    "prometheus_client": "prometheus-client",
    "opentelemetry.proto": "opentelemetry-proto",
}


@dataclass(frozen=True, slots=True)
class Backends:
    """What the services talk to."""

    otlp: str
    redis: str
    orders_database: str
    inventory_database: str


def check_requirements(find: Callable[[str], object | None] = importlib.util.find_spec) -> None:
    """Raises DemoError when something is not installed in this environment; `find` gives None for what is missing."""
    missing = [requirement for module, requirement in _NEEDED.items() if not _found(module, find)]
    if not missing and not LAUNCHER.exists():
        missing = ["opentelemetry-instrumentation"]
    if missing:
        raise DemoError(f"not installed here: {', '.join(missing)}; ./scripts/demo installs what the demo needs")


def start_services(family: Family, ports: Mapping[str, int], backends: Backends) -> tuple[Child, Child]:
    """Start inventory and orders, and wait until both are healthy.

    Args:
        family: what the services become children of.
        ports: `orders`, `orders-metrics`, `inventory`, `inventory-metrics`.
        backends: addresses for the services' environment.
    """
    shared = {"REDIS_URL": backends.redis, "INVENTORY_URL": f"http://127.0.0.1:{ports['inventory']}"}
    databases = {"inventory": backends.inventory_database, "orders": backends.orders_database}
    children = []
    for name, database in databases.items():
        command = [str(LAUNCHER), "uvicorn", f"shop.{name}:app", "--host", "127.0.0.1", "--port", str(ports[name])]
        telemetry = _telemetry(name, ports[f"{name}-metrics"], backends.otlp)
        environment = _environment() | shared | telemetry | {"DATABASE_URL": database}
        children.append(family.start(name, command, environment))
    inventory, orders = children
    for child in (inventory, orders):
        child.wait_until(lambda name=child.name: answers(f"http://127.0.0.1:{ports[name]}/health"))  # type: ignore[misc]
    return inventory, orders


def python_environment() -> dict[str, str]:
    """The environment of the demo's own Python processes: the project's folder can be imported from."""
    return _environment() | {"PYTHONPATH": str(EXAMPLES.parent)}


def _telemetry(name: str, metrics_port: int, otlp: str) -> dict[str, str]:
    """All the configuration that there is: no code, no file."""
    return {
        "OTEL_SERVICE_NAME": name,
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp,
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(metrics_port),
        "OTEL_BSP_SCHEDULE_DELAY": "200",  # ms; the default of 5 s would have you wait
        "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "health",
    }


def _environment() -> dict[str, str]:
    """The caller's environment without what would send the demo's telemetry elsewhere."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "SENTRY_")) or name.startswith("OTEL_DISTRO_")
    }
    return kept | {
        "PATH": os.pathsep.join([str(LAUNCHER.parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": str(EXAMPLES),
        "NO_PROXY": "127.0.0.1,localhost",
    }


def _found(module: str, find: Callable[[str], object | None]) -> bool:
    try:
        return find(module) is not None
    except ImportError:  # the package above it is missing
        return False
