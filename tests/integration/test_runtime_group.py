"""Two real workers as one service: what the process, its loops and the distro show of themselves, through a kill -9."""

from __future__ import annotations

import os
import signal
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics import parser

from otel_distro.guard import Guard
from otel_distro.otlp.backoff import Backoff
from otel_distro.otlp.exporters import build_encoder, build_sender
from otel_distro.settings import Distro, Otlp
from tests.otlp_servers import batch
from tests.programs import OURS
from tests.servers.base import free_port
from tests.servers.sink import Answer, OtlpSink
from tests.servers.waiting import http_get, wait_until
from tests.serving import Serving

APPLICATION = """
import os, time
from fastapi import FastAPI
from otel_distro import health
app = FastAPI()

@health.check("luck", critical=False)
def luck() -> bool:
    return not os.path.exists(f"unlucky-{os.getpid()}")

@app.get("/pid")
async def pid() -> int:
    return os.getpid()

@app.get("/block")
async def block() -> int:
    time.sleep(0.6)
    return os.getpid()
"""


_UVICORN = "uvicorn app:app --workers 2 --port {port} --log-level warning"
_GUNICORN = "gunicorn app:app -k uvicorn.workers.UvicornWorker -w 2 -b 127.0.0.1:{port} --log-level warning"


class Service(Serving):
    """An application under two workers of uvicorn, or of another command with `{port}` in it."""

    def __init__(self, directory: Path, runtime: str, sink: OtlpSink, command: str = _UVICORN, **more: str) -> None:
        (directory / "app.py").write_text(APPLICATION)
        self.metrics = free_port()
        settings = {
            "OTEL_SERVICE_NAME": "two",
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(self.metrics),
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "XDG_RUNTIME_DIR": runtime,
            **more,
        }
        super().__init__([*OURS, *command.split()], settings, directory / "log", cwd=directory, probe="/pid")

    def get(self, path: str) -> str:
        return http_get(f"http://127.0.0.1:{self.port}{path}", seconds=10).decode()

    def scrape(self) -> dict[str, float]:
        """Every sample by name and labels, as the strict parser reads it, without the scope's and the component's."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.metrics}/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read().decode()
        found: dict[str, float] = {}
        families: Any = parser.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for family in families:
            for sample in family.samples:
                labels = {k: v for k, v in sample.labels.items() if not k.startswith(("otel_", "server_"))}
                key = sample.name + "".join(f"{{{k}={v}}}" for k, v in sorted(labels.items()))
                found[key] = found.get(key, 0.0) + sample.value
        return found

    def until(self, check: Callable[[dict[str, float]], bool], what: str) -> dict[str, float]:
        last: dict[str, float] = {}

        def look() -> bool:
            last.clear()
            last.update(self.scrape())
            return check(last)

        wait_until(look, seconds=20, what=what)
        return last


@pytest.fixture
def sink() -> Iterator[OtlpSink]:
    with OtlpSink() as made:
        yield made


@contextmanager
def serving(directory: Path, sink: OtlpSink, command: str = _UVICORN, **more: str) -> Iterator[Service]:
    """The application, answering, until the block ends."""
    # a directory of its own with a short name: a socket's may have 107 characters
    with (
        tempfile.TemporaryDirectory(prefix="rt") as runtime,
        Service(directory, runtime, sink, command, **more) as made,
    ):
        yield made


@pytest.fixture
def service(tmp_path: Path, sink: OtlpSink) -> Iterator[Service]:
    with serving(tmp_path, sink) as made:
        yield made


def test_two_workers_are_one_service_through_a_kill(service: Service, sink: OtlpSink) -> None:
    """Two processes are added up and no supervisor with them, what a killed one did stays, and the ledger is even."""
    pids: set[str] = set()
    sent = 1  # the one that told that the application is there

    def both() -> bool:
        nonlocal sent
        sent += 1
        pids.add(service.get("/pid"))
        return len(pids) == 2

    wait_until(both, seconds=20, what="answers of both workers")
    service.get("/block")
    sent += 1
    produced, delivered = "otel_distro_span_produced_total", "otel_sdk_exporter_span_exported_total"
    before = service.until(lambda now: now.get(delivered, 0) >= sent, "delivery of every span")
    assert before[produced] == before[delivered] == sent == len(sink.spans)
    assert before["otel_distro_process_count"] == 2
    assert 2 * 15e6 < before["process_memory_usage_bytes"] < 2 * 200e6
    assert before["process_thread_count"] >= 4
    assert before["asyncio_event_loop_lag_seconds_sum"] > 0.2
    assert before["asyncio_event_loop_overdue_seconds"] < 5
    assert before["otel_sdk_exporter_operation_duration_seconds_count"] >= 1
    assert before["cpython_gc_collections_total{cpython_gc_generation=0}"] > 0
    os.kill(int(next(iter(pids))), signal.SIGKILL)
    # uvicorn may have another one up before anybody looks
    gone = service.until(lambda now: now["otel_distro_process_count"] <= 2, "a scrape after the end of one worker")
    wait_until(lambda: service.get("/pid") not in pids, seconds=90, what="an answer of another worker")
    again = service.until(lambda now: now["otel_distro_process_count"] == 2, "another worker")
    for name, value in before.items():
        if name.startswith(("process_cpu", "process_context", "cpython", produced, delivered)) and "_total" in name:
            assert value <= gone[name] <= again[name], name


def test_each_launch_has_an_id_of_its_own_and_its_workers_have_none(tmp_path: Path, sink: OtlpSink) -> None:
    """What is started again below a parent that lives on, as systemd's services are, is counted by the alerts."""
    ids: list[str] = []
    port = free_port()

    def shown(service: Service) -> str:
        return (
            http_get(f"http://127.0.0.1:{service.metrics}/metrics").decode().partition('service_instance_id="')[2][:24]
        )

    for _ in range(2):
        with serving(tmp_path, sink, _GUNICORN, OTEL_EXPORTER_PROMETHEUS_PORT=str(port)) as service:
            service.metrics = port
            service.until(lambda now: now["otel_distro_process_count"] == 2, "two workers")
            ids.append(shown(service))
            for _ in range(2):
                pid = service.get("/pid")
                os.kill(int(pid), signal.SIGTERM)
                wait_until(lambda pid=pid: not Path(f"/proc/{pid}/cmdline").exists(), seconds=30, what="its end")
                service.until(lambda now: now["otel_distro_process_count"] == 2, "two workers")
                assert shown(service) == ids[-1]
    assert len({*ids, ""}) == 3


def test_a_killed_worker_is_counted_and_one_that_was_told_to_end_is_not(tmp_path: Path, sink: OtlpSink) -> None:
    """Its supervisor starts another one, and what the killed one was at work on is in no other number."""
    killed = "otel_distro_process_killed_total"
    with serving(tmp_path, sink, _GUNICORN) as service:

        def end(by: signal.Signals) -> None:
            """Of a worker that answers; returns when another one does."""
            service.until(lambda now: now["otel_distro_process_count"] == 2, "two workers")
            pid = service.get("/pid")
            os.kill(int(pid), by)
            wait_until(lambda: not Path(f"/proc/{pid}/cmdline").exists(), seconds=30, what="its end")

        assert service.scrape()[killed] == 0
        end(signal.SIGTERM)
        end(signal.SIGKILL)
        service.until(lambda now: now["otel_distro_process_count"] == 2 and now[killed] >= 1, "the killed one")
        assert service.scrape()[killed] == 1


@pytest.mark.parametrize("command", [_UVICORN, _GUNICORN], ids=["uvicorn", "gunicorn"])
def test_a_supervisor_that_pushes_is_not_scraped(tmp_path: Path, sink: OtlpSink, command: str) -> None:
    """By OTLP every process tells of itself, the supervisor as well; in what is scraped are the workers alone."""
    with serving(
        tmp_path, sink, command, OTEL_METRICS_EXPORTER="prometheus,otlp", OTEL_METRIC_EXPORT_INTERVAL="300"
    ) as service:
        name = "otel_distro.process.count"
        sink.wait_for(lambda _: len({p.resource["service.instance.id"] for p in sink.points if p.name == name}) == 3)
        found = service.until(lambda now: now["otel_distro_process_count"] >= 2, "both workers")
        assert found["otel_distro_process_count"] == 2


@pytest.mark.parametrize("which", [min, max])
def test_a_worker_that_cannot_work_is_not_hidden_by_the_others(
    tmp_path: Path, sink: OtlpSink, which: Callable[[set[str]], str]
) -> None:
    """Of the health of several workers a scrape shows the worst, whoever was asked last."""
    with serving(tmp_path, sink, OTEL_DISTRO_HEALTH="on", OTEL_DISTRO_HEALTH_CACHE="0") as service:
        pids: set[str] = set()
        wait_until(lambda: pids.add(service.get("/pid")) or len(pids) == 2, seconds=20, what="answers of both workers")
        (tmp_path / f"unlucky-{which(pids)}").touch()
        up, seen = "health_check_up{health_check_critical=false}{health_check_name=luck}", set()

        def asked() -> bool:
            seen.add("degraded" in service.get("/health/detailed"))
            return len(seen) == 2

        wait_until(asked, seconds=20, what="one answer of each worker")
        service.until(lambda now: now.get(up) == 0, "the number of the worker that cannot work")
        for _ in range(20):
            service.get("/health/detailed")
            assert service.scrape()[up] == 0


def test_an_export_is_measured_once_with_its_retries(sink: OtlpSink) -> None:
    """Attempts that are made again are no exports of their own: one duration over all of them, with the last answer."""
    seen: list[tuple[float, str]] = []
    url = f"{sink.url}/v1/traces"
    sender = build_sender(
        Otlp(endpoint=url),
        build_encoder("traces", "http/protobuf"),
        Distro(),
        Guard(output=lambda level, text: None),
        backoff=Backoff(0.2, 0.2),
        settled=lambda seconds, error: seen.append((seconds, error)),
    )
    sink.answer_next(Answer(status=503), Answer(status=503))
    sender.submit(batch(1))
    wait_until(lambda: seen, seconds=10, what="the end of the export")
    sink.answer_next(Answer(status=400))
    sender.submit(batch(2))
    wait_until(lambda: len(seen) == 2, seconds=10, what="the second export")
    sender.shutdown(1.0)
    assert [error for _, error in seen] == ["", "400"]
    assert sender.stats().requests == 4
    first, _, third, _ = (request.monotonic for request in sink.requests)
    assert seen[0][0] > third - first
