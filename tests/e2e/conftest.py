"""The servers behind the applications: one stack for the whole suite, one of its own where a test kills backends."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from redis import Redis

from tests import promql
from tests.e2e.monitored import PUSHED, SCRAPED, Monitored, monitored
from tests.e2e.service import Service
from tests.programs import STOCK
from tests.servers import Answer, PostgresServer, RedisServer, Stack, tempo_line, wait_until

LOGS = Path(__file__).resolve().parents[2] / "test-logs" / "e2e"

Start = Callable[..., Service]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in the report whether Tempo itself was tested."""
    terminalreporter.write_line(tempo_line())


@pytest.fixture
def logs(request: pytest.FixtureRequest) -> Path:
    """Directory of one test's logs, emptied at its start and kept at its end."""
    directory = LOGS / re.sub(r"\W+", "-", request.node.name)
    for old in directory.glob("*.log"):
        old.unlink()
    return directory


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Collector, Jaeger, Tempo or its stand-in, Prometheus; shared, so no test stops any of them."""
    with Stack(LOGS / "shared") as running:
        yield running


@pytest.fixture
def mortal_stack(logs: Path) -> Iterator[Stack]:
    """A stack of a test's own, whose backends keep their data when they are killed."""
    with Stack(logs, storage="badger") as running:
        yield running


@pytest.fixture(scope="session")
def data() -> Iterator[Mapping[str, str]]:
    """A real Redis and PostgreSQL, as variables of the shop's services."""
    with RedisServer(LOGS / "shared") as redis, PostgresServer(LOGS / "shared") as postgres:
        yield {"REDIS_URL": redis.url, "DATABASE_URL": postgres.url()}


_RULES = promql.RULES / "service.yml"
_FIRING = """
groups:
  - name: firing
    rules:
      - {alert: Noticed, expr: "up{job='app'} == 1", labels: {severity: warning}}
      - {alert: Heartbeat, expr: vector(1), labels: {severity: none}}
"""


@pytest.fixture(scope="module")
def watched(request: pytest.FixtureRequest) -> Iterator[Monitored]:
    """A service under traffic, scraped by Prometheus and pushing to it, with all that is measured: losses as well."""
    with _losing(request, {"firing.yml": _FIRING}) as running:
        yield running


@pytest.fixture(scope="module")
def alerted(request: pytest.FixtureRequest) -> Iterator[Monitored]:
    """The same with the alert rules for services."""
    with _losing(request, {_RULES.name: _RULES.read_text(encoding="utf-8")}) as running:
        yield running


@contextmanager
def _losing(request: pytest.FixtureRequest, rules: Mapping[str, str]) -> Iterator[Monitored]:
    folder = LOGS / request.module.__name__.rpartition(".")[2]
    with monitored(folder, rules, CALLBACK="broken") as running:
        running.backend.answer = Answer(400)  # spans and log records, refused for good
        refused = 'otel_sdk_exporter_{}_exported_total{{job="{}", error_type="400"}}'
        losses = [refused.format(item, job) for item in ("span", "log") for job in (SCRAPED, PUSHED)]
        wait_until(lambda: all(map(running.query, losses)), seconds=30, what="losses to be seen")
        running.backend.answer = Answer()
        yield running


@contextmanager
def starting(data: Mapping[str, str], logs: Path) -> Iterator[Start]:
    """Starts services of the shop, which end with the block; the cache is empty at its begin."""
    with Redis.from_url(data["REDIS_URL"]) as cache:
        cache.flushall()
    with ExitStack() as running:

        def begin(name: str, command: Sequence[str], otlp: str, **environ: str) -> Service:
            variables = {**data, "OTEL_EXPORTER_OTLP_ENDPOINT": otlp, **environ}
            return running.enter_context(Service(name, command, variables, logs))

        yield begin


@pytest.fixture
def start(data: Mapping[str, str], logs: Path) -> Iterator[Start]:
    """Start a service of the shop, with an empty cache; it ends with the test."""
    with starting(data, logs) as begin:
        yield begin


@pytest.fixture(scope="session")
def inventory(data: Mapping[str, str], stack: Stack) -> Iterator[Service]:
    """The second service, sending to the shared stack; it keeps nothing of a request but what is in the database."""
    with starting(data, LOGS / "shared") as begin:
        yield begin("inventory", (*STOCK, "python", "-m", "shop.inventory"), stack.collector.url)
