"""A service in front of Prometheus, scraped and pushing: what dashboards and rules may ask for, and what answers."""

from __future__ import annotations

import http.client
import itertools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.e2e.service import Service
from tests.e2e.stacks.rig import Outside
from tests.hardships.processes import Threads
from tests.programs import OURS
from tests.servers import OtlpSink, PostgresServer, PrometheusServer, RedisServer, http_json, wait_until
from tests.servers.exposition import Sample

ROOT = Path(__file__).resolve().parents[2]
SCRAPED = "app"
"""The job of `deploy/prometheus/scrape/loopback.yml`: no label tells the service, all workers are one target."""
PUSHED = "shop/monitored"
"""The job that Prometheus makes of the namespace and the name of a service; its instances are processes."""
COLLECTOR = "otel-collector"
"""The job of collectors, which measure their HTTP server under the same names: here the same page once more."""
# uvicorn kills a worker that does not answer for five seconds, which a machine with much else to do may take
_SERVER = ("uvicorn", "--port", "{port}", "--workers", "2", "--timeout-worker-healthcheck", "60")
_LAUNCH = (*OURS, *_SERVER, "tests.e2e.monitored_application:app")


class Traffic(Threads):
    """Requests without a pause, good and bad ones, and one event stream that stays open."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.rounds = 0
        super().__init__((self._ask, self._listen))

    def _ask(self) -> None:
        for number in itertools.count():
            if self.ending.wait(0.05):
                return
            item = f"/items/{number % 7}"
            self._service.call(item, method="POST", body={"name": "cup"})
            paths = [item, item, "/work", "/outside/fine", "/talked", "/events?count=2"]
            paths += ["/outside/broken", "/broken/sql", "/broken/redis", "/crash", "/nowhere"]
            paths += ["/crowd", "/ready"] if number % 5 == 0 else []
            for path in paths:
                with suppress(http.client.IncompleteRead):  # the stream that breaks
                    self._service.call(path)
            self.rounds += 1

    def _listen(self) -> None:
        """Read event streams one after another, so that one is always open."""
        address = urlsplit(self._service.url).netloc
        while not self.ending.is_set():
            connection = http.client.HTTPConnection(address, timeout=20)
            try:
                connection.request("GET", "/events?count=100")
                answer = connection.getresponse()
                while not self.ending.is_set() and answer.read(64):
                    pass
            finally:
                connection.close()


@dataclass(frozen=True)
class Monitored:
    """What is running.

    Attributes:
        prometheus: scrapes the service each second and takes what it pushes.
        service: two workers; `SCRAPED` and `PUSHED` are its jobs.
        traffic: goes on until the end.
        backend: takes spans and log records, and says nothing but yes until told otherwise.
    """

    prometheus: PrometheusServer
    service: Service
    traffic: Traffic
    backend: OtlpSink

    def series(self, job: str) -> list[Mapping[str, str]]:
        """Labels of every series that Prometheus has of a job, `__name__` with them."""
        query = urlencode({"match[]": f'{{job="{job}"}}'})
        answer: Any = http_json(f"{self.prometheus.url}/api/v1/series?{query}")
        return list(answer["data"])

    def metrics(self, job: str) -> Mapping[str, set[str]]:
        """Names of the metrics of a job, with the names of their labels."""
        found: dict[str, set[str]] = {}
        for labels in self.series(job):
            found.setdefault(labels["__name__"], set()).update(set(labels) - {"__name__"})
        return found

    def query(self, promql: str) -> list[Sample]:
        """Samples of an instant query."""
        return self.prometheus.query(promql)


@contextmanager
def monitored(logs: Path, rules: Mapping[str, str] | None = None, **environ: str) -> Iterator[Monitored]:
    """The service, all that it uses, and its traffic, running until the block ends.

    When it is given, both jobs have metrics of everything, long enough for rates over 10 s.

    Args:
        logs: directory of the logs, which stay.
        rules: files of rules for Prometheus by name, as text.
        environ: further variables of the service.
    """
    with ExitStack() as running:
        enter = running.enter_context
        redis, postgres = enter(RedisServer(logs)), enter(PostgresServer(logs))
        sink, outside = enter(OtlpSink()), enter(Outside())
        prometheus = enter(PrometheusServer(logs, rules=rules))
        variables = {
            "PYTHONPATH": str(ROOT),
            "REDIS_URL": redis.url,
            "DATABASE_URL": postgres.url(),
            "OUTSIDE_URL": outside.url,
            "OTEL_RESOURCE_ATTRIBUTES": "service.namespace=shop",
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "prometheus,otlp",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{prometheus.otlp_url}/v1/metrics",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTEL_DISTRO_HEALTH": "on",
            **environ,
        }
        service = enter(Service("monitored", _LAUNCH, variables, logs))
        prometheus.scrape(apps=[service.metrics_target], collectors=[service.metrics_target])
        found = Monitored(prometheus, service, enter(Traffic(service)), sink)
        wait_until(lambda: _settled(found), seconds=60, what="both jobs to have metrics of everything")
        yield found


def _settled(found: Monitored) -> bool:
    """Whether the rarest of the traffic has been seen by both jobs often enough for a rate."""
    rare = 'db_client_connection_timeouts_total{{job="{}"}}'
    return all(found.query(f"count_over_time({rare.format(job)}[1m]) > 5") for job in (SCRAPED, PUSHED))
