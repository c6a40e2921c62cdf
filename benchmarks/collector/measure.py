"""Three measurements: cost at a fixed rate, the most that one core takes, a backlog that is filled and drained."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.collector.rig import BOTH_CORES, Rig
from tests.servers import total, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.collector.rig import Setup
    from tests.otlp_servers import Certificates

RATE = 10_000  # spans a second
_WARM_UP = 3.0  # seconds
_PAUSE = 0.1
_UNAVAILABLE = 14


@dataclass(frozen=True, slots=True)
class Steady:
    """One round of a setup at RATE, or flat out.

    Attributes:
        sent: spans acknowledged within the round.
        missing: of these, how many a backend does not have in the end (0 for a sampler, which keeps some on purpose).
        cpu_us: CPU time of the collector for a span, microseconds.
        spans_a_second: acknowledged and delivered, by the clock.
        anonymous: most memory without the mapped queue files, bytes.
    """

    sent: int
    missing: int
    duplicates: int
    cpu_us: float
    spans_a_second: float
    anonymous: int
    span_bytes: float
    answers: dict[str, int]
    p50_ms: float
    p99_ms: float


def steady(
    setup: Setup, logs: Path, certificates: Certificates, *, rate: float, seconds: float, warm_up: float = _WARM_UP
) -> Steady:
    """One round; everything that was sent has arrived when it ends.

    Raises:
        TimeoutError: something has not.
    """
    with Rig(setup, logs, certificates) as rig:
        before = rig.load(rate=rate or RATE, seconds=warm_up).end()["accepted"]
        _settled(rig, before)
        began = rig.collector.used()
        sending = rig.load(rate=rate, seconds=seconds)
        memory = []
        while sending.running:
            memory.append(rig.collector.anonymous())
            time.sleep(_PAUSE)
        told = sending.end()
        _settled(rig, before + told["accepted"])
        used = rig.collector.used().since(began)
        return Steady(
            sent=told["accepted"],
            missing=0 if _samples(setup) else before + told["accepted"] - rig.delivered(),
            duplicates=sum(backend.stats()["duplicates"] for backend in rig.backends.values()),
            cpu_us=used.cpu / told["accepted"] * 1e6,
            spans_a_second=told["accepted"] / used.seconds,
            anonymous=max(memory),
            span_bytes=told["bytes"] / told["spans"],
            answers=told["answers"],
            p50_ms=told["p50_ms"],
            p99_ms=told["p99_ms"],
        )


def _samples(setup: Setup) -> bool:
    return setup.choice.role == "sampling"


def _settled(rig: Rig, spans: int) -> None:
    """Wait until all that was sent is in the backends, or, behind a sampler, decided."""
    if not _samples(rig.setup):
        rig.settle(spans)
        return
    wait_until(lambda: decided(rig) >= spans, seconds=120, what=f"decisions on {spans} spans")


def decided(rig: Rig) -> float:
    """Spans that a sampler has handed on, or not."""
    samples = rig.collector.metrics()
    return sum(
        total(samples, "otelcol_ledger_items_total", backend="sampler", stage=stage) or 0
        for stage in ("kept", "sampled_away")
    )


@dataclass(frozen=True, slots=True)
class Moment:
    """A look at the collector while a backlog is filled and drained."""

    seconds: float
    phase: str
    anonymous: int
    waiting: int  # bytes in both queues, as the collector counts
    disk: int  # bytes that the queues' files take
    delivered: int  # spans that every backend has


@dataclass(slots=True)
class Backlog:
    """How a backlog went."""

    moments: list[Moment] = field(default_factory=list)
    sent: int = 0
    missing: int = 0
    duplicates: int = 0
    refused: int = 0
    backlog_spans: int = 0  # waiting for each backend when they came back
    drain_seconds: float = 0.0
    drained_a_second: float = 0.0  # spans delivered a second, arriving ones included
    cpu: dict[str, float] = field(default_factory=dict)  # CPU seconds by phase

    def as_json(self) -> dict[str, Any]:
        """For the file of results."""
        return asdict(self)


def backlog(setup: Setup, logs: Path, certificates: Certificates, *, size: int) -> Backlog:
    """Send while both backends refuse until `size` bytes wait; let them come back while RATE spans a second arrive.

    The collector has two cores, one of which it shares with the backends and the senders.

    Raises:
        TimeoutError: the backlog was not filled, or not drained, within ten minutes.
    """
    found = Backlog()
    with Rig(setup, logs, certificates, cores=BOTH_CORES) as rig:
        watch = _Watch(rig, found)
        sent = [rig.load(rate=RATE, seconds=5)]
        watch.until("steady", lambda: not sent[0].running)
        for backend in rig.backends.values():
            backend.behave(code=_UNAVAILABLE)
        sent.append(rig.load(seconds=600))
        watch.until("fill", lambda: rig.waiting() >= size)
        told = [sent[0].end(), sent[1].stop()]
        before = rig.delivered()
        found.backlog_spans = sum(each["accepted"] for each in told) - before
        arriving = rig.load(rate=RATE, seconds=600)
        watch.until("full", watch.after(5))
        for backend in rig.backends.values():
            backend.behave()
        began = time.monotonic()
        # Drained: what waits is less than two seconds of what arrives.
        watch.until("drain", lambda: rig.waiting() < 2 * 2 * RATE * _SPAN_BYTES)
        found.drain_seconds = time.monotonic() - began
        found.drained_a_second = (rig.delivered() - before) / found.drain_seconds
        watch.until("after", watch.after(10))
        told.append(arriving.stop())
        found.sent = sum(each["accepted"] for each in told)
        found.refused = sum(each["spans"] - each["accepted"] for each in told)
        rig.settle(found.sent)
        found.missing = found.sent - rig.delivered()
        found.duplicates = sum(backend.stats()["duplicates"] for backend in rig.backends.values())
    return found


_SPAN_BYTES = 750


class _Watch:
    """Looks at the collector until something is so."""

    def __init__(self, rig: Rig, found: Backlog) -> None:
        self._rig, self._found, self._began = rig, found, time.monotonic()

    def after(self, seconds: float) -> Any:
        end = time.monotonic() + seconds
        return lambda: time.monotonic() >= end

    def until(self, phase: str, done: Any) -> None:
        rig, found = self._rig, self._found
        deadline = time.monotonic() + 600
        before = rig.collector.used()
        while True:
            found.moments.append(
                Moment(
                    round(time.monotonic() - self._began, 2),
                    phase,
                    rig.collector.anonymous(),
                    rig.waiting(),
                    rig.collector.queue_file(),
                    rig.delivered(),
                )
            )
            if done():
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"the phase {phase} of the backlog did not end in ten minutes")
            time.sleep(0.5)
        used = rig.collector.used().since(before)
        found.cpu[phase] = used.cpu / used.seconds
