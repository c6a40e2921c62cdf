"""Prometheus 3 with deploy/prometheus, read through its query API."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tests.servers.base import Server, ServerError
from tests.servers.binaries import prometheus_binary
from tests.servers.exposition import Sample
from tests.servers.waiting import http_json, http_ok, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DEPLOYED = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
_FILES = ("prometheus.yml", "scrape/loopback.yml")
_APP, _COLLECTOR = '["127.0.0.1:9464"]', '["127.0.0.1:8888"]'


class PrometheusServer(Server):
    """Prometheus with the deployed configuration, only its targets and its intervals (1 s) exchanged."""

    def __init__(
        self,
        logs: Path,
        apps: Sequence[str] = (),
        collectors: Sequence[str] = (),
        name: str = "prometheus",
        *,
        rules: Mapping[str, str] | None = None,
        alertmanager: str | None = None,
    ) -> None:
        """Prepare one that scrapes and alerts.

        Args:
            logs: directory of its log.
            apps: `host:port` of the applications' /metrics pages.
            collectors: the same of the collectors'.
            name: of the server and its log.
            rules: files of rules by name, as text; none by default.
            alertmanager: `host:port` of the one that gets the alerts.
        """
        super().__init__(name, logs)
        self._apps, self._collectors = list(apps), list(collectors)
        self._files = {f"rules/{file}": text for file, text in (rules or {}).items()}
        if alertmanager is not None:
            self._files["alertmanagers/test.yml"] = json.dumps([{"targets": [alertmanager]}])

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.ports['main']}"

    @property
    def otlp_url(self) -> str:
        """Base URL for OTLP/HTTP exporters, to which they append /v1/metrics."""
        return f"{self.url}/api/v1/otlp"

    def prepare(self) -> None:
        texts = {name: (_DEPLOYED / name).read_text() for name in _FILES}
        for name, deployed, wanted in (
            ("scrape/loopback.yml", _APP, json.dumps(self._apps)),
            ("scrape/loopback.yml", _COLLECTOR, json.dumps(self._collectors)),
            ("prometheus.yml", "scrape_interval: 15s", "scrape_interval: 1s"),
            ("prometheus.yml", "evaluation_interval: 15s", "evaluation_interval: 1s"),
        ):
            if texts[name].count(deployed) != 1:
                raise ServerError(f"{_DEPLOYED / name} no longer holds {deployed} exactly once")
            texts[name] = texts[name].replace(deployed, wanted)
        for name, text in {**texts, **self._files}.items():
            place = self.data / name
            place.parent.mkdir(exist_ok=True)
            place.write_text(text)

    def command(self) -> Sequence[str]:
        return [
            prometheus_binary(),
            f"--config.file={self.data / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.data / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self.ports['main']}",
            "--web.enable-otlp-receiver",
            "--enable-feature=exemplar-storage",
            # what fires before it has found Alertmanager, which takes some seconds, is sent again after a minute
            "--rules.alert.resend-delay=2s",
        ]

    def healthy(self) -> bool:
        return http_ok(f"{self.url}/-/ready")

    def scrape(self, *, apps: Sequence[str] | None = None, collectors: Sequence[str] | None = None) -> None:
        """Exchange the targets of the running server; None leaves those of now.

        Raises:
            TimeoutError: it did not take the new configuration within 10 s.
        """
        self._apps = self._apps if apps is None else list(apps)
        self._collectors = self._collectors if collectors is None else list(collectors)
        self.prepare()
        os.kill(self.pid, signal.SIGHUP)
        wanted = {*self._apps, *self._collectors}
        wait_until(lambda: self._targets() == wanted, seconds=10, what=f"{self.name} to take new targets")

    def query(self, promql: str) -> list[Sample]:
        """Samples of an instant query that gives a vector or a scalar.

        Raises:
            OSError: no connection, or Prometheus does not accept the expression.
        """
        answer = self._api("query", query=promql)
        if answer["resultType"] == "scalar":
            return [Sample("", {}, float(answer["result"][1]))]
        return [_sample(series) for series in answer["result"]]

    def value(self, promql: str) -> float | None:
        """Sum of an instant query's samples; None when there are none."""
        samples = self.query(promql)
        return sum(sample.value for sample in samples) if samples else None

    def exemplars(self, promql: str) -> list[dict[str, Any]]:
        """Exemplars of the last hour for the series of an expression: dicts with `labels`, `value`, `timestamp`."""
        now = time.time()
        answer = self._api("query_exemplars", query=promql, start=now - 3600, end=now + 60)
        return [exemplar for series in answer for exemplar in series["exemplars"]]

    def wait_for_value(self, promql: str, expected: float, *, seconds: float = 30.0) -> None:
        """Wait until the sum of an instant query's samples is `expected`.

        Raises:
            TimeoutError: it is not after `seconds`; the message holds the last value.
        """
        last: float | None = None

        def reached() -> bool:
            nonlocal last
            last = self.value(promql)
            return last == expected

        try:
            wait_until(reached, seconds=seconds, what=f"{promql} to be {expected:g}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; last value: {last}") from None

    def _targets(self) -> set[str]:
        answer = http_json(f"{self.url}/api/v1/targets?state=active")
        return {target["labels"]["instance"] for target in answer["data"]["activeTargets"]}

    def _api(self, path: str, **parameters: object) -> Any:
        return http_json(f"{self.url}/api/v1/{path}?{urlencode(parameters)}")["data"]


def _sample(series: Any) -> Sample:
    labels = dict(series["metric"])
    return Sample(labels.pop("__name__", ""), labels, float(series["value"][1]))
