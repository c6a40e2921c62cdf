"""Jaeger 2 with deploy/jaeger, read through its /api/v3 (OTLP JSON)."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

from tests.servers.backend import TraceBackend
from tests.servers.binaries import jaeger_binary
from tests.servers.signals import spans_of_json
from tests.servers.waiting import http_json, http_ok

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.servers.signals import SpanRecord

_CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "jaeger"


class JaegerServer(TraceBackend):
    """Jaeger; `memory` storage forgets on `kill` and `restart`, `badger` keeps the traces in the data directory.

    Badger shows a list attribute as its JSON text, memory as the list.
    """

    port_names = ("otlp", "query", "query_grpc", "health", "telemetry")

    def __init__(self, logs: Path, storage: Literal["memory", "badger"] = "memory", name: str = "jaeger") -> None:
        super().__init__(name, logs)
        self.storage = storage

    @property
    def otlp_endpoint(self) -> str:
        return f"127.0.0.1:{self.ports['otlp']}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['query']}"

    def command(self) -> Sequence[str]:
        files = [_CONFIG / "jaeger.yaml", *([_CONFIG / "badger.yaml"] if self.storage == "badger" else [])]
        return [jaeger_binary(), *(f"--config={file}" for file in files)]

    def environment(self) -> Mapping[str, str]:
        return os.environ | {
            "JAEGER_OTLP_ENDPOINT": self.otlp_endpoint,
            "JAEGER_QUERY_ENDPOINT": f"127.0.0.1:{self.ports['query']}",
            "JAEGER_QUERY_GRPC_ENDPOINT": f"127.0.0.1:{self.ports['query_grpc']}",
            "JAEGER_HEALTH_ENDPOINT": f"127.0.0.1:{self.ports['health']}",
            "JAEGER_TELEMETRY_PORT": str(self.ports["telemetry"]),
            "JAEGER_BADGER_DIRECTORY": str(self.data / "badger"),
        }

    def healthy(self) -> bool:
        return http_ok(f"http://127.0.0.1:{self.ports['health']}/status")

    def trace_url(self, trace_id: str) -> str:
        return f"{self.url}/api/v3/traces/{trace_id}"

    def trace(self, trace_id: str) -> list[SpanRecord]:
        return sorted(_spans(http_json(self.trace_url(trace_id))), key=lambda span: span.start_unix_nano)

    def search(self, service: str) -> list[str]:
        now = datetime.now(UTC)
        query = {
            "query.service_name": service,
            "query.start_time_min": (now - timedelta(hours=1)).isoformat(),
            "query.start_time_max": (now + timedelta(minutes=1)).isoformat(),
            "query.num_traces": 1000,
        }
        answer = http_json(f"{self.url}/api/v3/traces?{urlencode(query)}")
        return list(dict.fromkeys(span.trace_id for span in _spans(answer)))


def _spans(answer: Any) -> list[SpanRecord]:
    """Spans of an answer of /api/v3/traces; none for "not found"."""
    return list(spans_of_json(answer["result"].get("resourceSpans", ()))) if answer else []
