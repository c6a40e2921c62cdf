"""What a start imports, counted: the figures of docs/startup.md are times, which no test can hold."""

from __future__ import annotations

import json

import pytest

from tests.programs import INJECTED, OURS, STOCK, run

SHOWN = "import json, sys, threading; print(json.dumps([sorted(sys.modules), threading.active_count()]))"
LIBRARIES = "import httpx, redis; from fastapi import FastAPI; from sqlalchemy import create_engine; FastAPI();"
HEAVY = {
    "ssl",
    "http.client",
    "requests",
    "urllib3",
    "google.protobuf",
    "grpc",
    "email.message",
    "psutil",
    "prometheus_client",
}
"""Expensive modules that nothing of a start needs."""
MOST_AT_REST = 46
"""Our own modules in a program that gives no sign: settings, guard, hooks."""
MOST_AWAKE = 178
"""And with all four libraries instrumented."""


def started(launcher: tuple[str, ...], code: str = "", **environ: str) -> tuple[set[str], int]:
    """The modules and the number of threads of a program that does nothing but tell."""
    told = {
        "OTEL_DISTRO_PIPELINE": "lean",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        # a package of the test environment that waits for nothing would set everything up at once
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*",
        **environ,
    }
    done = run(code + SHOWN, launcher, check=True, **told)
    modules, threads = json.loads(done.stdout)
    return set(modules), threads


def ours(modules: set[str]) -> set[str]:
    return {name for name in modules if name.startswith("otel_distro")}


@pytest.mark.parametrize("launcher", [OURS, STOCK], ids=["ours", "stock"])
def test_a_program_that_gives_no_sign_pays_for_settings_and_hooks(launcher: tuple[str, ...]) -> None:
    """`otel-distro run python -c pass`: nothing of OpenTelemetry, nothing heavy, one thread that waits."""
    modules, threads = started(launcher)
    assert not {name for name in modules if name.startswith("opentelemetry")}
    assert not modules & (
        HEAVY | {"dataclasses", "inspect", "importlib.metadata", "asyncio", "json.tool", "socket"} - {"json"}
    )
    assert len(ours(modules)) <= MOST_AT_REST, sorted(ours(modules))
    assert threads <= 2


def test_without_pushed_metrics_there_is_no_thread() -> None:
    """The only thread of a program at rest waits for the moment of the first push."""
    assert started(OURS, OTEL_METRICS_EXPORTER="prometheus")[1] == 1


def test_the_stock_launchers_part_has_us_import_no_sdk() -> None:
    """What it has imported itself is all of OpenTelemetry that a program without a sign holds."""
    modules, _ = started(INJECTED)
    assert not {name for name in modules if name.startswith(("opentelemetry.sdk", "opentelemetry.metrics"))}
    assert len(ours(modules)) <= MOST_AT_REST + 2, sorted(ours(modules))


@pytest.mark.parametrize("launcher", [OURS, INJECTED], ids=["ours", "injected"])
def test_four_libraries_bring_no_exporter_of_upstreams(launcher: tuple[str, ...]) -> None:
    """With all four libraries our modules stay within a bound; nothing of contrib's or upstream's exporters comes."""
    modules, _ = started(launcher, LIBRARIES, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="")
    foreign = ("google", "grpc", "requests", "prometheus_client", "opentelemetry.exporter", "opentelemetry.proto")
    assert not {name for name in modules if name.startswith(foreign)}
    contrib = {f"opentelemetry.instrumentation.{name}" for name in ("fastapi", "sqlalchemy", "redis", "httpx", "asgi")}
    assert not modules & contrib
    assert 100 < len(ours(modules)) <= MOST_AWAKE, len(ours(modules))


def test_measuring_needs_no_metrics_sdk() -> None:
    """Its import takes 20 ms and a megabyte, which only who collects needs; redis-py 7.2 would bring it, unread."""
    modules, _ = started(OURS, LIBRARIES, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="")
    assert "redis.observability.providers" in modules
    assert "otel_distro.metrics.provider" in modules
    assert not {name for name in modules if name.startswith("opentelemetry.sdk.metrics")}


def test_a_library_that_is_switched_off_is_imported_as_ever() -> None:
    """Who disables the instrumentation of Redis has redis-py import what it imports without us."""
    modules, _ = started(OURS, "import redis; ", OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="redis")
    assert "opentelemetry.sdk.metrics" in modules
