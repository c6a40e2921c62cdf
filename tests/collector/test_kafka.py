"""Traces through a real broker: whole in one partition, and neither lost nor torn while samplers and the broker go."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.collector.drills.kafka import KAFKA_DRILLS, run_kafka_drill
from tests.collector.drills.kafka_rig import PARTS, SPANS, KafkaRig
from tests.collector.drills.run import table
from tests.servers import KafkaServer, total, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.otlp_servers import Certificates

_LOGS = Path(__file__).resolve().parents[2] / "test-logs" / "kafka"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaServer]:
    """One broker for all tests here: it takes seconds to start."""
    with KafkaServer(_LOGS) as running:
        yield running


def test_every_span_of_a_trace_lies_in_one_partition(broker: KafkaServer, certificates: Certificates) -> None:
    """Whatever request a span came in; and all partitions are used."""
    with KafkaRig(broker, _LOGS, certificates, 0, {"KAFKA_COMPRESSION": "none"}) as rig:
        with rig.loaded(1):
            pass
        rig.ingest.wait_for_metric("otelcol_exporter_sent_spans_total", len(rig.load.traces))
        held = broker.partitions(rig.topic)
        where: dict[bytes, list[int]] = {}
        for span, trace_id in rig.load.traces.items():
            where.setdefault(trace_id, []).extend(at for at, content in held.items() if bytes.fromhex(span) in content)
    assert {len(places) for places in where.values()} == {PARTS * SPANS}
    assert {len(set(places)) for places in where.values()} == {1}
    assert {places[0] for places in where.values()} == set(range(broker.partition_count))


def test_samplers_tell_how_far_they_are_behind(broker: KafkaServer, certificates: Certificates) -> None:
    """Of each partition: messages and the age of the oldest one while traces are undecided, nothing afterwards."""
    waiting = {"OTELCOL_SAMPLING_WAIT": "12s", "OTELCOL_SAMPLING_WAIT_AFTER_ROOT": "12s"}
    with KafkaRig(broker, _LOGS, certificates, 1, waiting) as rig:
        with rig.loaded(1):
            pass
        sampler = rig.samplers[0]
        sampler.wait_for_metric("otelcol_kafka_traces_age_seconds", 3)
        sampler.wait_for_metric("otelcol_kafka_traces_lag", 1)
        rig.settle()
        wait_until(lambda: total(sampler.metrics(), "otelcol_kafka_traces_lag") == 0, seconds=20, what="no lag")
        told = [sample for sample in sampler.metrics() if sample.name.startswith("otelcol_kafka_traces_")]
    assert {sample.value for sample in told} == {0}
    assert len(told) == 2 * broker.partition_count
    assert {dict(sample.labels)["topic"] for sample in told} == {rig.topic}


def test_samplers_and_the_broker_go_and_nothing_is_lost(broker: KafkaServer, certificates: Certificates) -> None:
    """One sampler more, SIGTERM, kill -9, the broker killed before a queue: each trace is whole or sampled away."""
    short = [drill for drill in KAFKA_DRILLS if drill.short]
    together = [drill for drill in short if not drill.alone]
    with ThreadPoolExecutor(len(together)) as running:
        outcomes = list(running.map(lambda drill: run_kafka_drill(drill, broker, _LOGS, certificates), together))
    outcomes += [run_kafka_drill(drill, broker, _LOGS, certificates) for drill in short if drill.alone]
    problems = [f"{each.drill}: {'; '.join(each.problems)}" for each in outcomes if each.problems]
    assert len(outcomes) >= 3
    assert problems == [], table(outcomes)
