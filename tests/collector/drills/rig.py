"""A gateway with two recording backends, and the count of what became of every span."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from scripts.collectorgen.choices import Choice
from tests.collector.drills.senders import BareSender, SdkSender
from tests.collector.generated import GeneratedCollector
from tests.servers import RecorderServer, Sample, total

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.collector.drills.senders import Sdk
    from tests.otlp_servers import Certificates

BACKENDS = ("tempo", "jaeger")


@dataclass(frozen=True, slots=True)
class Fate:
    """What one backend has of the spans that were sent."""

    arrived: int
    missing: int
    duplicated: int
    ledger_missing: int  # by the one query: what came into the collector's keeping and has not left it
    dropped: Mapping[str, int]  # reason -> spans, by the ledger
    parked: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """A drill's line in the table."""

    drill: str
    sender: str
    sent: int
    fates: Mapping[str, Fate]
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

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            self.backends = {
                name: starting.enter_context(RecorderServer(self.logs, name, **self.recorder_options)) for name in BACKENDS
            }
            self.tempo, self.jaeger = self.backends["tempo"], self.backends["jaeger"]
            self.collector = GeneratedCollector(
                self.logs,
                self.choice,
                self.certificates,
                env={
                    "TEMPO_OTLP_ENDPOINT": self.tempo.otlp_endpoint,
                    "JAEGER_OTLP_ENDPOINT": self.jaeger.otlp_endpoint,
                    "OTELCOL_BACKEND_TIMEOUT": "1s",
                    **self.env,
                },
                name="collector",
            )
            starting.enter_context(self.collector)
            self._running = starting.pop_all()
        self.sender: BareSender | SdkSender = BareSender(self.collector.url)
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self.sender, SdkSender):
            self.sender.close()
        self._running.close()

    def use(self, sdk: Sdk | None) -> None:
        """Send by an SDK instead of bare requests."""
        if sdk is not None:
            self.sender = SdkSender(sdk, self.collector.url, self.logs)

    def settle(self, *, seconds: float = 15.0) -> None:
        """Wait until the ledger says that nothing is on the way any more, or nothing has changed for 3 seconds."""
        deadline, still, before = time.monotonic() + seconds, time.monotonic() + 3.0, None
        while time.monotonic() < deadline:
            now = [(_held(self.samples(), name), sum(self.backends[name].stored().values())) for name in BACKENDS]
            if all(held == 0 for held, _ in now) and now == before:
                return
            if now != before:
                still, before = time.monotonic() + 3.0, now
            elif time.monotonic() > still:
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
                parked=_stage(samples, name, "parked") - _stage(samples, name, "unparked"),
            )
        return Outcome(drill, self.sender.name, len(self.sender.sent), fates, self.sender.told, expected)


def _held(samples: list[Sample], backend: str) -> int:
    """The one query, `sum(in) - sum(out)`: what is on the way, and once all is quiet, what is missing."""
    come = total(samples, "otelcol_ledger_items_total", backend=backend, side="in") or 0
    gone = total(samples, "otelcol_ledger_items_total", backend=backend, side="out") or 0
    return int(come - gone)


def _stage(samples: list[Sample], backend: str, stage: str) -> int:
    return int(total(samples, "otelcol_ledger_items_total", backend=backend, stage=stage) or 0)
