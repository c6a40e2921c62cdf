"""The collector of this distribution, with collector/config.yaml or another configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.base import Server
from tests.servers.binaries import collector_binary
from tests.servers.exposition import parse_exposition, total
from tests.servers.waiting import http_get, http_ok, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.servers.exposition import Sample

COLLECTOR_CONFIG = Path(__file__).resolve().parents[2] / "collector" / "config.yaml"


class CollectorServer(Server):
    """A collector whose queues lie in the data directory, so that they survive `kill` and `restart`."""

    port_names = ("grpc", "http", "health", "telemetry")

    def __init__(
        self,
        logs: Path,
        config: Path = COLLECTOR_CONFIG,
        env: Mapping[str, str] | None = None,
        name: str = "collector",
    ) -> None:
        """`env` adds to the variables that config.yaml reads; ports and storage are set here."""
        super().__init__(name, logs)
        self.config = config
        self.env = dict(env or {})

    @property
    def url(self) -> str:
        """Base URL of the OTLP/HTTP receiver, as OTEL_EXPORTER_OTLP_ENDPOINT takes it."""
        return f"http://127.0.0.1:{self.ports['http']}"

    @property
    def telemetry_target(self) -> str:
        """`host:port` of the collector's own /metrics page."""
        return f"127.0.0.1:{self.ports['telemetry']}"

    def command(self) -> Sequence[str]:
        return [collector_binary(), f"--config={self.config}"]

    def environment(self) -> Mapping[str, str]:
        return os.environ | {
            "OTELCOL_OTLP_GRPC_ENDPOINT": f"127.0.0.1:{self.ports['grpc']}",
            "OTELCOL_OTLP_HTTP_ENDPOINT": f"127.0.0.1:{self.ports['http']}",
            "OTELCOL_HEALTH_ENDPOINT": f"127.0.0.1:{self.ports['health']}",
            "OTELCOL_TELEMETRY_PORT": str(self.ports["telemetry"]),
            "OTELCOL_STORAGE_DIRECTORY": str(self.data / "queues"),
            **self.env,
        }

    def healthy(self) -> bool:
        return http_ok(f"http://127.0.0.1:{self.ports['health']}/")

    def metrics(self) -> list[Sample]:
        """Samples of the collector's own /metrics page.

        Raises:
            OSError: it cannot be read.
        """
        return parse_exposition(http_get(f"http://{self.telemetry_target}/metrics").decode())

    def wait_for_metric(self, name: str, at_least: float, *, seconds: float = 30.0, **labels: str) -> float:
        """Wait until the sum of an internal metric's samples is `at_least`, and return it.

        Raises:
            TimeoutError: it is not after `seconds`.
        """
        return wait_until(
            lambda: value if (value := total(self.metrics(), name, **labels)) is not None and value >= at_least else 0,
            seconds=seconds,
            what=f"{name}{labels or ''} of {self.name} to reach {at_least:g}",
        )
