"""Tempo with deploy/tempo, read through its own API; and what stands in its place where there is no Tempo."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlencode

from tests.servers.backend import TraceBackend
from tests.servers.binaries import tempo_binary
from tests.servers.jaeger import JaegerServer
from tests.servers.signals import spans_of_json
from tests.servers.waiting import http_json, http_ok

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.servers.signals import SpanRecord

_CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "tempo" / "tempo.yaml"


class TempoServer(TraceBackend):
    """Tempo as a single binary, found by TEMPO_BINARY or on PATH; its data survives `kill` and `restart`."""

    port_names = ("otlp", "http", "grpc", "gossip")
    start_seconds = 60.0  # /ready waits some 15 s for its rings

    def __init__(self, logs: Path, binary: str, name: str = "tempo") -> None:
        super().__init__(name, logs)
        self.binary = binary

    @property
    def otlp_endpoint(self) -> str:
        return f"127.0.0.1:{self.ports['otlp']}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['http']}"

    def command(self) -> Sequence[str]:
        return [self.binary, f"-config.file={_CONFIG}", "-config.expand-env"]

    def environment(self) -> Mapping[str, str]:
        return os.environ | {
            "TEMPO_OTLP_PORT": str(self.ports["otlp"]),
            "TEMPO_HTTP_PORT": str(self.ports["http"]),
            "TEMPO_GRPC_PORT": str(self.ports["grpc"]),
            "TEMPO_GOSSIP_PORT": str(self.ports["gossip"]),
            "TEMPO_DATA": str(self.data),
        }

    def healthy(self) -> bool:
        return http_ok(f"{self.url}/ready")

    def trace_url(self, trace_id: str) -> str:
        return f"{self.url}/api/v2/traces/{trace_id}"

    def trace(self, trace_id: str) -> list[SpanRecord]:
        answer = http_json(self.trace_url(trace_id))
        groups = ((answer or {}).get("trace") or {}).get("resourceSpans", ())
        return sorted(spans_of_json(groups), key=lambda span: span.start_unix_nano)

    def search(self, service: str) -> list[str]:
        now = int(time.time())
        query = {
            "q": f'{{ resource.service.name = "{service}" }}',
            "start": now - 3600,
            "end": now + 60,
            "limit": 1000,
        }
        answer = http_json(f"{self.url}/api/search?{urlencode(query)}") or {}
        # Tempo leaves out leading zeros of an id here, and only here.
        return [found["traceID"].rjust(32, "0") for found in answer.get("traces", ())]


def tempo_or_standin(logs: Path, storage: Literal["memory", "badger"] = "memory") -> TraceBackend:
    """Tempo where its program is found; else a second Jaeger, which is called `tempo-standin` in names and logs.

    `storage` is the stand-in's; Tempo itself always keeps its traces.

    Raises:
        MissingBinary: TEMPO_BINARY names something that cannot be run.
    """
    binary = tempo_binary()
    return TempoServer(logs, binary) if binary else JaegerServer(logs, storage, name="tempo-standin")


def tempo_name() -> str:
    """`tempo`, or `tempo-standin` where no Tempo is found: what reports must call it."""
    return "tempo" if tempo_binary() else "tempo-standin"


def tempo_line() -> str:
    """One line for a report: which program answers where Tempo is asked."""
    binary = tempo_binary()
    if binary:
        return f"tempo: {binary}"
    return "tempo-standin: no Tempo by TEMPO_BINARY or on PATH, a second Jaeger is in its place"
