"""A gateway with two recording backends, and the count of what became of every span."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from scripts.collectorgen import parts
from scripts.collectorgen.choices import Choice
from scripts.collectorgen.text import without_comments
from tests.collector.drills.senders import BareSender, SdkSender
from tests.collector.generated import NOWHERE, TOKEN, GeneratedCollector
from tests.servers import RecorderServer, Sample, total

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.collector.drills.senders import Sdk
    from tests.otlp_servers import Certificates


_QUIET = 10.0  # seconds without a change: a busy machine, and an exporter's wait between two attempts, are shorter
_TLS_FILES = {"OTELCOL_TLS_CERT_FILE": "tls.crt", "OTELCOL_TLS_KEY_FILE": "tls.key"}


@dataclass(frozen=True, slots=True)
class Fate:
    """What one backend has of the spans that were sent."""

    arrived: int
    missing: int
    duplicated: int
    ledger_missing: int  # by the one query: what came into the collector's keeping and has not left it
    dropped: Mapping[str, int]  # reason -> spans, by the ledger
    parked: int
    batches_twice: int = 0  # requests of the collector of which a span came again


@dataclass(frozen=True, slots=True)
class Outcome:
    """A drill's line in the table."""

    drill: str
    sender: str
    sent: int
    fates: Mapping[str, Fate]
    lost_in_sampler: int  # by the ledger: what a sampler that was killed took along
    sampled_away: int
    told: str
    expected: str
    problems: tuple[str, ...] = ()


@dataclass
class Rig:
    """The servers of one drill; a context manager."""

    logs: Path
    certificates: Certificates
    choice: Choice = field(default_factory=lambda: Choice("gateway"))
    env: Mapping[str, str] = field(default_factory=dict)
    recorder_options: Mapping[str, Any] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    disk: str = ""
    over_http: bool = False

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            names = ("gateway",) if self.choice.role == "agent" else ("tempo", "jaeger")
            self.backends = {
                name: starting.enter_context(RecorderServer(self.logs, name, **self.recorder_options)) for name in names
            }
            endpoints = {name: backend.otlp_endpoint for name, backend in self.backends.items()}
            self.collector = GeneratedCollector(
                self.logs,
                self.choice,
                self.certificates,
                env={
                    "TEMPO_OTLP_ENDPOINT": endpoints.get("tempo", NOWHERE),
                    "JAEGER_OTLP_ENDPOINT": endpoints.get("jaeger", NOWHERE),
                    "OTELCOL_GATEWAY_ENDPOINT": endpoints.get("gateway", NOWHERE),
                    "OTELCOL_BACKEND_TIMEOUT": "1s",
                    **self.env,
                },
                name="collector",
            )
            self.exporter_token = self.collector.data / "exporter-token"
            self.exporter_token.write_text(TOKEN)
            self.collector.env["OTELCOL_EXPORTER_TOKEN_FILE"] = str(self.exporter_token)
            for (variable, name), source in zip(_TLS_FILES.items(), self.certificates.server, strict=True):
                file = self.collector.data / name
                file.write_bytes(source.read_bytes())
                self.collector.env[variable] = str(file)
            self.collector.through_start = True
            self.collector.arguments, self.collector.disk = self.arguments, self.disk
            if self.over_http:
                self.collector.arguments += (_by_http(self.tempo.url),)
            starting.enter_context(self.collector)
            self._running = starting.pop_all()
        self.sender: BareSender | SdkSender = self.bare_sender()
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self.sender, SdkSender):
            self.sender.close()
        self._running.close()

    @property
    def tempo(self) -> RecorderServer:
        """The backend that most drills break."""
        return self.backends["tempo"]

    def bare_sender(self) -> BareSender:
        """A further sender of bare requests."""
        return BareSender(self.collector.url, self.certificates.authority, TOKEN)

    def use(self, sdk: Sdk | None) -> None:
        """Send by an SDK instead of bare requests."""
        if sdk is not None:
            secured = {
                "OTEL_EXPORTER_OTLP_CERTIFICATE": str(self.certificates.authority),
                "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{TOKEN}",
            }
            self.sender = SdkSender(sdk, self.collector.url, self.logs, secured)

    def settle(self, *, seconds: float = 60.0) -> None:
        """Wait until the ledger says that nothing is on the way any more, or until nothing has changed for a while."""
        before: list[int] = []
        deadline = time.monotonic() + seconds
        quiet = time.monotonic() + _QUIET
        while time.monotonic() < min(deadline, quiet):
            samples = self.samples()
            waiting = [_held(samples, name) + _parked(samples, name) for name in ("sampler", *self.backends)]
            now = [*waiting, *(sum(backend.stored().values()) for backend in self.backends.values())]
            if now != before:
                before, quiet = now, time.monotonic() + _QUIET
            elif not any(waiting):
                return
            time.sleep(0.2)

    def samples(self) -> list[Sample]:
        """The collector's own metrics; none while it cannot be asked."""
        try:
            return self.collector.metrics()
        except OSError:
            return []

    def outcome(self, drill: str, expected: str) -> Outcome:
        """Count now."""
        samples = self.samples()
        fates = {}
        for name, backend in self.backends.items():
            stored = backend.stored()
            dropped = {
                sample.labels["reason"]: int(sample.value)
                for sample in samples
                if sample.name == "otelcol_ledger_items_total"
                and sample.labels["backend"] == name
                and sample.labels["stage"] in ("dropped", "discarded", "rejected")
            }
            fates[name] = Fate(
                arrived=len(self.sender.sent & set(stored)),
                missing=len(self.sender.sent - set(stored)),
                duplicated=sum(stored.values()) - len(stored),
                ledger_missing=_held(samples, name),
                dropped=dropped,
                parked=_parked(samples, name),
                batches_twice=backend.stats()["repeated"],
            )
        away = int(total(samples, "otelcol_ledger_items_total", stage="sampled_away") or 0)
        return Outcome(
            drill=drill,
            sender=self.sender.name,
            sent=len(self.sender.sent),
            fates=fates,
            lost_in_sampler=_held(samples, "sampler"),
            sampled_away=away,
            told=self.sender.told,
            expected=expected,
        )


def _by_http(url: str) -> str:
    """An argument by which spans go to Tempo by OTLP/HTTP, with all else as it is."""
    exporters = {"otlp_http/tempo": without_comments(parts.otlp_exporter("tempo", url, tls="none"))}
    pipelines = {"traces/tempo": {"exporters": list(exporters)}}
    return "--config=yaml:" + json.dumps({"exporters": exporters, "service": {"pipelines": pipelines}})


def _held(samples: list[Sample], backend: str) -> int:
    """The one query, `sum(in) - sum(out)`: what is on the way, and once all is quiet, what is missing."""
    come = total(samples, "otelcol_ledger_items_total", backend=backend, side="in") or 0
    gone = total(samples, "otelcol_ledger_items_total", backend=backend, side="out") or 0
    return int(come - gone)


def _parked(samples: list[Sample], backend: str) -> int:
    """Spans that lie on disk, for the backend refused them for good."""
    stages = [
        total(samples, "otelcol_ledger_items_total", backend=backend, stage=stage) for stage in ("parked", "unparked")
    ]
    return int((stages[0] or 0) - (stages[1] or 0))
