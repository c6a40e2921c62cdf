"""Collector, Jaeger, Tempo (or its stand-in) and Prometheus wired together, for end-to-end tests and the demo."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal, Self

from tests.servers.collector import CollectorServer
from tests.servers.jaeger import JaegerServer
from tests.servers.prometheus import PrometheusServer
from tests.servers.tempo import tempo_or_standin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.servers.backend import TraceBackend

# A test waits for what people may wait for: metrics at once, retries without the long pauses.
_QUICK = {"OTELCOL_SPAN_METRICS_INTERVAL": "1s", "OTELCOL_RETRY_MAX_INTERVAL": "2s"}


class Stack:
    """The whole way of a trace and a metric behind an application; a context manager, or `start` and `close`."""

    def __init__(
        self,
        logs: Path,
        *,
        apps: Sequence[str] = (),
        storage: Literal["memory", "badger"] = "memory",
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare the servers; nothing is started yet.

        Args:
            logs: directory of the servers' logs, which stay.
            apps: `host:port` of the applications' /metrics pages.
            storage: Jaeger's and the stand-in's; `badger` where a test kills them.
            env: further variables for collector/config.yaml.
        """
        self.jaeger = JaegerServer(logs, storage)
        self.tempo = tempo_or_standin(logs, storage)
        self.collector = CollectorServer(logs, env=_QUICK | dict(env or {}))
        self.prometheus = PrometheusServer(logs, apps, [self.collector.telemetry_target])
        self._running = ExitStack()

    @property
    def backends(self) -> tuple[TraceBackend, TraceBackend]:
        """The two that every trace must reach: Jaeger, and Tempo or its stand-in."""
        return self.jaeger, self.tempo

    @property
    def addresses(self) -> Mapping[str, str]:
        """Name and URL of everything a person can open, and of the OTLP receiver."""
        return {
            "OTLP": self.collector.url,
            self.jaeger.name: self.jaeger.url,
            self.tempo.name: self.tempo.url,
            self.prometheus.name: self.prometheus.url,
        }

    def start(self) -> Self:
        """Start all four, the collector last.

        Raises:
            MissingBinary: a program is not on this machine and cannot be built.
            ServerError: one did not start; those that did are stopped again.
        """
        with ExitStack() as starting:
            for server in (self.jaeger, self.tempo, self.prometheus):
                starting.enter_context(server)
            self.collector.env |= {
                "JAEGER_OTLP_ENDPOINT": self.jaeger.otlp_endpoint,
                "TEMPO_OTLP_ENDPOINT": self.tempo.otlp_endpoint,
                "PROMETHEUS_OTLP_ENDPOINT": self.prometheus.otlp_url,
            }
            known = self.collector.telemetry_target
            starting.enter_context(self.collector)
            if self.collector.telemetry_target != known:  # a start may have had to choose other ports
                self.prometheus.scrape(collectors=[self.collector.telemetry_target])
            self._running = starting.pop_all()
        return self

    def close(self) -> None:
        """Stop all, the collector first, and remove their data; the logs stay."""
        self._running.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()
