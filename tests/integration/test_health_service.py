"""Health under real servers: dependencies that hang, floods of probes, and the end of the process."""

from __future__ import annotations

import socket
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest
import sqlalchemy

from tests.e2e.service import Service
from tests.programs import OURS
from tests.servers.base import free_port
from tests.servers.exposition import parse_exposition
from tests.servers.sink import OtlpSink

ROOT = Path(__file__).resolve().parents[2]
UVICORN = ("uvicorn", "--app-dir", str(ROOT), "tests.health_service:app", "--port", "{port}", "--no-access-log")
DRIVER = "psycopg2" if sqlalchemy.__version__.startswith("1.") else "psycopg"
QUIET = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
ON = {"OTEL_DISTRO_HEALTH": "on", **QUIET}
PATIENT = "60000"
"""Milliseconds for a check that answers: a busy machine may need more than it has by default."""


def service(tmp_path: Path, environ: Mapping[str, str], *launch: str) -> Service:
    command = launch or (*OURS, *UVICORN)
    return Service("health", command, {"PYTHONPATH": str(ROOT), **environ}, tmp_path)


@pytest.fixture
def hung() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_dependencies_that_hang_hold_up_neither_liveness_nor_the_application(tmp_path: Path, hung: int) -> None:
    """Databases hang, Redis refuses, a name is not resolved: each is told apart, and all else is answered meanwhile."""
    seconds = 6
    environ = {
        **ON,
        "OTEL_DISTRO_HEALTH_TIMEOUT": str(seconds * 1000),
        "OTEL_DISTRO_HEALTH_HTTP": "partner=http://slow.invalid/",
        "SYNC_DATABASE": f"postgresql+{DRIVER}://u:p@127.0.0.1:{hung}/orders",
        "ASYNC_DATABASE": f"postgresql+asyncpg://u:p@127.0.0.1:{hung}/reports",
        "REDIS_PORT": str(free_port()),
    }
    with service(tmp_path, environ) as running, ThreadPoolExecutor(1) as pool:
        probe = pool.submit(running.call, "/ready")
        answered = 0
        while not probe.done():
            assert running.call("/live").status == 200
            assert running.call("/health").status == 200
            assert running.call("/work").status == 200
            answered += 1
        assert answered > 1  # the first round had its answers while the readiness probe waited
        ready = probe.result()
        checks = ready.json()["checks"]
        assert ready.status == 503
        for name in ("database", "database:reports", "partner"):
            assert checks[name]["error"] == f"no answer within {seconds} s", name
        for name in ("redis", "redis-2"):
            assert "refused" in checks[name]["error"] or "Connect call failed" in checks[name]["error"], name
        assert [checks[name]["critical"] for name in ("database", "redis", "partner")] == [True, False, False]
        # while all of it still hangs, later probes are answered from memory
        assert running.call("/health/detailed").status == 503
        assert running.call("/live").json()["status"] == "alive"


def test_a_flood_of_probes_runs_a_check_once_in_its_cache_time(tmp_path: Path) -> None:
    """Many clients, two thousand probes: no more runs than cache times have begun."""
    cache = 0.5
    environ = {**ON, "COUNTED": "1", "OTEL_DISTRO_HEALTH_CACHE": str(int(cache * 1000))}

    def probe(port: int) -> set[int]:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        codes = set()
        for _ in range(250):
            connection.request("GET", "/ready")
            response = connection.getresponse()
            response.read()
            codes.add(response.status)
        connection.close()
        return codes

    with service(tmp_path, environ) as running, ThreadPoolExecutor(8) as pool:
        began = time.monotonic()
        codes = set().union(*pool.map(probe, [running.port] * 8))
        elapsed = time.monotonic() - began
        assert codes == {200}
        ran = running.call("/work").json()["ran"]
        assert 1 <= ran <= elapsed / cache + 1


def test_probes_make_no_telemetry_and_results_are_gauges(tmp_path: Path) -> None:
    """No span and no request metric for a probe or what its checks do; the results themselves are measured."""
    with OtlpSink() as sink:
        environ = {
            "OTEL_DISTRO_HEALTH": "on",
            "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "",
            "OTEL_DISTRO_HEALTH_TIMEOUT": PATIENT,
            "OTEL_METRICS_EXPORTER": "prometheus",
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
            "SYNC_DATABASE": f"sqlite:///{tmp_path / 'orders.db'}",
            "REDIS_PORT": str(free_port()),
        }
        with service(tmp_path, environ) as running:
            for path in ("/live", "/health", "/ready", "/health/detailed", "/api/health"):
                assert running.call(path).status == 200
            assert running.call("/work").status == 200
            sink.wait_for_spans(1)
            text = urllib.request.urlopen(f"http://{running.metrics_target}/metrics", timeout=10).read().decode()
        assert [span.name for span in sink.spans] == ["GET /work"]
    samples = parse_exposition(text)
    routes = {s.labels.get("http_route") for s in samples if s.name == "http_server_request_duration_seconds_count"}
    assert routes == {"/work"}
    up = {s.labels["health_check_name"]: s.value for s in samples if s.name.startswith("health_check_up")}
    assert up == {"database": 1, "redis": 0, "redis-2": 0}
    assert [s.value for s in samples if s.name.startswith("health_ready")] == [1]
    assert {s.labels["health_check_name"] for s in samples if s.name.startswith("health_check_duration")} == set(up)


@pytest.mark.parametrize("launcher", [(), OURS], ids=["without the distro", "with it"])
def test_one_line_answers_with_and_without_the_distro(tmp_path: Path, launcher: tuple[str, ...]) -> None:
    """`health.mount(app)` needs no launcher: paths, token and checks are there, and the route for anything does not
    take them; where the distro runs, nothing of a probe is traced."""
    environ = {"MOUNTED": "1", "OTEL_DISTRO_HEALTH_TOKEN": "t0ken", "OTEL_DISTRO_HEALTH_TIMEOUT": PATIENT}
    environ |= {**QUIET, "OTEL_TRACES_EXPORTER": "console"}
    with service(tmp_path, environ, *launcher, *UVICORN) as running:
        assert running.call("/ready").json() == {"status": "ready"}
        seen = running.call("/ready", headers={"authorization": "Bearer t0ken"}).json()
        assert seen["checks"]["declared"]["details"]["pid"] == running.pid
        assert running.call("/elsewhere").json() == "elsewhere"
        running.stop()
        assert "/ready" not in running.log()
        assert ("GET /{anything}" in running.log()) is bool(launcher)


def test_the_application_keeps_a_route_of_its_own(tmp_path: Path) -> None:
    """Switching health on takes no path away that the application answers itself."""
    # contrib's log handler, where it is installed, takes our lines away from stderr
    own = {
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "logging",
        "OTEL_DISTRO_HEALTH_DETAILED_PATHS": "/work",
        "OTEL_DISTRO_HEALTH_READY_PATHS": "/made-up",
    }
    with service(tmp_path, {**ON, **own}) as running:
        assert "ran" in running.call("/work").json()
        assert running.call("/made-up").json()["status"] == "ready"
        assert "/work stays the application's own route" in running.log()


def test_without_our_instrumentation_a_line_names_the_way(tmp_path: Path) -> None:
    """Where nothing of ours sees requests, the variable alone cannot answer; the line of the application does."""
    environ = {**ON, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "fastapi,logging", "MOUNTED": "1"}
    environ["OTEL_DISTRO_HEALTH_TIMEOUT"] = PATIENT
    with service(tmp_path, environ) as running:
        assert running.call("/ready").json()["checks"]["declared"]["status"] == "up"
        assert "otel_distro.health.mount(app) works without it" in running.log()
