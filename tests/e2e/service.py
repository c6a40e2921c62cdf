"""A service started as its users start it: a real process under a real launcher, on a free port, with its log kept."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.base import free_port
from tests.serving import Serving

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of a response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Service(Serving):
    """A process of an example, or another application.

    Args:
        name: of the service, and of its log file.
        command: what is started, `{port}` filled in.
        environ: variables on top of the caller's, whose own `OTEL_*` are taken away.
        logs: directory of the log, which stays.
    """

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str], logs: Path) -> None:
        self.name = name
        self.metrics_port = free_port()
        settings = {
            "OTEL_SERVICE_NAME": name,
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(self.metrics_port),
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "health",
            **environ,
        }
        logs.mkdir(parents=True, exist_ok=True)
        super().__init__(command, settings, logs / f"{name}.log", cwd=EXAMPLES)

    @property
    def metrics_target(self) -> str:
        """`host:port` of its /metrics page."""
        return f"127.0.0.1:{self.metrics_port}"

    def call(
        self, path: str, *, method: str = "GET", body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request, whatever its status."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=dict(headers or {}))
        if data is not None:
            request.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return Answer(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read())
