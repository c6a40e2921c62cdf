"""The roles around Kafka: what `ingest` writes at a fixed rate, `consume` then reads as fast as it can."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.collector.measure import Steady, decided, steady
from benchmarks.collector.rig import Rig, Setup
from scripts.collectorgen.choices import Choice
from tests.servers.kafka import KafkaServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.otlp_servers import Certificates


def through_kafka(logs: Path, certificates: Certificates, *, rate: float, seconds: float) -> tuple[Steady, Steady]:
    """One round of `ingest`, and one of `consume` with the same spans.

    Raises:
        TimeoutError: something that was sent has not arrived.
    """
    with KafkaServer(logs) as broker:
        brokers = (("KAFKA_BROKERS", broker.brokers), ("KAFKA_CREATE_TOPIC", "true"))
        written = steady(
            Setup("ingest", Choice("ingest"), env=brokers), logs, certificates, rate=rate, seconds=seconds, warm_up=1.0
        )
        return written, _read(Setup("consume", Choice("consume"), env=brokers), logs, certificates, written)


def _read(setup: Setup, logs: Path, certificates: Certificates, written: Steady) -> Steady:
    with Rig(setup, logs, certificates) as rig:
        began, memory = rig.collector.used(), [rig.collector.anonymous()]
        deadline = time.monotonic() + 120
        while (spans := int(decided(rig))) < written.sent:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{spans} of {written.sent} spans were decided on in two minutes")
            memory.append(rig.collector.anonymous())
            time.sleep(0.2)
        used = rig.collector.used().since(began)
        return Steady(
            sent=spans,
            missing=0,
            duplicates=sum(backend.stats()["duplicates"] for backend in rig.backends.values()),
            cpu_us=used.cpu / spans * 1e6,
            spans_a_second=spans / used.seconds,
            anonymous=max(memory),
            span_bytes=written.span_bytes,
            answers={},
            p50_ms=0,
            p99_ms=0,
        )
