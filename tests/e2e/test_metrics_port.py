"""Who answers scrapes: somebody before the first request, somebody else soon after a kill -9, siblings as one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos.killing import children
from tests.chaos.watch import count, scrape
from tests.e2e.service import Service
from tests.programs import STOCK
from tests.servers.base import free_port
from tests.servers.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
APP = "tests.chaos.application:app"
UVICORN = (*STOCK, "uvicorn", APP, "--port", "{port}")
GUNICORN = (*STOCK, "gunicorn", APP, "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:{port}")
LAUNCHES = {
    "uvicorn": UVICORN,
    "uvicorn --workers": (*UVICORN, "--workers", "2"),
    "uvicorn --reload": (*UVICORN, "--reload"),
    "gunicorn": (*GUNICORN, "-w", "2"),
    "gunicorn --preload": (*GUNICORN, "-w", "2", "--preload"),
}
SEVERAL = ["uvicorn --workers", "gunicorn", "gunicorn --preload"]


class Untouched(Service):
    """A service that is waited for without a request: its server's own line says that it is ready."""

    def ready(self) -> bool:
        """Whether the first process that serves has said so."""
        return "Application startup complete" in self.log()


class Started:
    """Services of this test, ended with it."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._stack = ExitStack()

    def __call__(self, name: str, command: tuple[str, ...], **environ: str) -> Service:
        """Start one, whose collector is nowhere."""
        variables = {"PYTHONPATH": str(ROOT), "OTEL_TRACES_EXPORTER": "none", **environ}
        return self._stack.enter_context(Untouched(name, command, variables, self._logs))

    def end(self) -> None:
        """End all."""
        self._stack.close()


@pytest.fixture
def begin(logs: Path) -> Iterator[Started]:
    """Starts services."""
    started = Started(logs)
    yield started
    started.end()


def url(service: Service) -> str:
    return f"http://{service.metrics_target}/metrics"


def owner(port: int, among: list[int]) -> int:
    """The process that listens on a port of 127.0.0.1."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in rows if row[1] == f"0100007F:{port:04X}" and row[3] == "0A"}
    for pid in among:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(descriptor.readlink())
            except OSError:
                continue
            if target in inodes:
                return pid
    return 0


def seconds_until_answered(target: str, limit: float) -> float:
    """How long nobody answers; on a machine that does nothing else within `limit`."""
    began = time.monotonic()
    wait_until(lambda: scrape(target) is not None, seconds=limit, what=f"{target} to answer")
    return time.monotonic() - began


@pytest.mark.parametrize("launch", LAUNCHES)
def test_somebody_answers_before_the_first_request_and_after_a_kill(
    launch: str, begin: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    """Soon after the server's start, never the supervisor; soon after kill -9, with all counts; by the route, too,
    whichever worker gets the scrape."""
    service = begin("port", LAUNCHES[launch], OTEL_DISTRO_METRICS_ROUTE="/metrics")
    said = f"{launch}: /metrics {seconds_until_answered(url(service), 1.0) * 1000:.0f} ms after the server was ready"
    answering = owner(service.metrics_port, [service.pid, *children(service.pid)])
    assert answering
    assert (answering == service.pid) == (launch == "uvicorn")
    if launch in SEVERAL:
        wait_until(lambda: len(children(service.pid)) == 2, seconds=20, what="two workers")
        for number in range(30):
            assert service.call(f"/job/{number}").status == 200
        wait_until(lambda: count(scrape(url(service)) or "") == 30, seconds=5, what="30 requests counted")
        os.kill(answering, signal.SIGKILL)
        said += f", again {seconds_until_answered(url(service), 2.0) * 1000:.0f} ms after kill -9 of its owner"
        assert count(scrape(url(service)) or "") == 30
        for _ in range(8):
            page = service.call("/metrics").body.decode()
            assert count(page) == 30
            assert 'http_route="/metrics"' not in page
    with capsys.disabled():
        print(f"\n{said}")


def test_a_route_without_a_port_binds_none(begin: Started) -> None:
    """With OTEL_DISTRO_METRICS_ROUTE alone the application's port is the only one, and scrapes are no requests."""
    service = begin("route", UVICORN, OTEL_DISTRO_METRICS_ROUTE="/metrics", OTEL_EXPORTER_PROMETHEUS_PORT="")
    listening = Path("/proc/net/tcp").read_text(encoding="ascii")
    assert owner(9464, [service.pid]) == 0
    assert f"0100007F:{service.port:04X}" in listening
    assert service.call("/job/1").status == 200
    for _ in range(3):
        assert service.call("/metrics").status == 200
    assert count(service.call("/metrics").body.decode()) == 1


def test_siblings_that_something_else_started_are_one_group(begin: Started) -> None:
    """As with PM2: processes of one service under one parent are one total on one port, whoever of them dies; those of
    another port are another group."""
    port = str(free_port())
    shared = {"OTEL_SERVICE_NAME": "shop", "OTEL_EXPORTER_PROMETHEUS_PORT": port}
    services = [begin(f"sibling-{number}", UVICORN, **shared) for number in range(2)]
    other = begin("stranger", UVICORN, OTEL_SERVICE_NAME="shop")
    target = f"http://127.0.0.1:{port}/metrics"
    for service in services:
        for number in range(10):
            assert service.call(f"/job/{number}").status == 200
    wait_until(lambda: count(scrape(target) or "") == 20, seconds=5, what="20 requests counted")
    assert count(scrape(url(other)) or "") == 0
    answering = owner(int(port), [service.pid for service in services])
    (dead,) = [service for service in services if service.pid == answering]
    dead.stop(signal.SIGKILL)
    seconds_until_answered(target, 2.0)
    assert count(scrape(target) or "") == 20
