"""Drills of the tier behind Kafka: samplers come and go, they and the broker are killed, every trace stays whole."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.collector.drills.kafka_rig import PARTS, SPANS, KafkaRig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.collector.drills.rig import Outcome
    from tests.otlp_servers import Certificates
    from tests.servers import KafkaServer

_ZERO = "every trace that fails is there, whole, once; the others are sampled away, to the span"
_KILLED = "0 lost, every trace whole or sampled away; twice at most what was queued since the last commit"
_FULL = "what both queues cannot hold waits in Kafka; what one of them alone refuses is counted, to the span"


@dataclass(frozen=True, slots=True)
class KafkaDrill:
    """One drill.

    Attributes:
        name: what breaks.
        expected: what must be true, in words, for the table.
        run: breaks and heals under load.
        samplers: members of the group at the beginning.
        doubled: spans that may come twice.
        env: of the collectors.
        payload: bytes of the largest span of a trace that is kept.
        short: belongs to the gate.
        alone: kills the broker, which others use.
    """

    name: str
    expected: str
    run: Callable[[KafkaRig], None]
    samplers: int = 2
    doubled: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    payload: int = 0
    short: bool = False
    alone: bool = False


def run_kafka_drill(drill: KafkaDrill, broker: KafkaServer, logs: Path, certificates: Certificates) -> Outcome:
    """Run one drill, and judge it."""
    folder = logs / re.sub(r"\W+", "-", drill.name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with KafkaRig(broker, folder, certificates, drill.samplers, drill.env, drill.payload) as rig:
        drill.run(rig)
        rig.settle()
        outcome = rig.outcome(drill.name, drill.expected)
        return replace(outcome, problems=tuple(_problems(rig, outcome, drill.doubled)))


def _problems(rig: KafkaRig, outcome: Outcome, doubled: int) -> list[str]:
    found = [] if outcome.sent else ["nothing was sent"]
    found += (
        [] if set(outcome.told.split(" x")[:1]) == {"200"} and "," not in outcome.told else ["a request was refused"]
    )
    for name, backend in rig.backends.items():
        stored = set(backend.stored())
        lost, torn = rig.load.keep - stored, rig.load.leave & stored
        dropped = sum(outcome.fates[name].dropped.values())
        found += [f"{name}: {len(lost)} missing, {dropped} counted"] if len(lost) != dropped else []
        found += [f"{name}: {len(torn)} kept of traces to be sampled away"] if torn else []
        twice = outcome.fates[name].duplicated
        found += [f"{name}: {twice} duplicated"] if twice > doubled else []
        held = outcome.fates[name].ledger_missing
        found += [f"{name}: the ledger says {held} missing"] if not -doubled <= held <= 0 else []
    away, wanted = outcome.sampled_away, len(rig.load.leave)
    found += [f"{away} counted as sampled away of {wanted}"] if not wanted <= away <= wanted + doubled else []
    held = outcome.lost_in_sampler
    return found + ([f"sampler: the ledger says {held} missing"] if not -doubled <= held <= 0 else [])


# --- what breaks ----------------------------------------------------------------------------------------------------


def _calm(rig: KafkaRig) -> None:
    with rig.loaded(4):
        pass


def _scale_out(rig: KafkaRig) -> None:
    with rig.loaded(12):
        for _ in range(2):
            time.sleep(2)
            rig.add_sampler()


def _scale_in(rig: KafkaRig) -> None:
    with rig.loaded(10):
        for sampler in rig.samplers[:0:-1]:
            time.sleep(2)
            _stopped(rig, rig.samplers.index(sampler))


def _scale_in_slowly(rig: KafkaRig) -> None:
    """What is queued when a sampler is told to stop has gone when it stops."""
    for backend in rig.backends.values():
        backend.behave(delay_ms=1500)
    _scale_in(rig)


def _stopped(rig: KafkaRig, place: int) -> None:
    """SIGTERM."""
    rig.samplers[place].stop()
    assert "Shutdown complete" in rig.samplers[place].log_tail(), "it did not stop in order"


def _rolling(rig: KafkaRig) -> None:
    with rig.loaded(12):
        for place, sampler in enumerate(rig.samplers):
            time.sleep(2)
            _stopped(rig, place)
            sampler.start()


def _come_and_go(rig: KafkaRig) -> None:
    """The gate's: one more comes, the first one goes."""
    with rig.loaded(8):
        time.sleep(1)
        rig.add_sampler()
        time.sleep(2.5)
        _stopped(rig, 0)


def _killed(rig: KafkaRig) -> None:
    """Its partitions go to the other, later some come back."""
    with rig.loaded(8):
        time.sleep(2.5)
        rig.samplers[0].kill()
        time.sleep(4)
        rig.samplers[0].start()


def _killed_thrice(rig: KafkaRig) -> None:
    """Alone: back before anybody misses it."""
    with rig.loaded(10):
        for _ in range(3):
            time.sleep(2)
            rig.samplers[0].kill()
            rig.samplers[0].start()


def _broker_killed(rig: KafkaRig) -> None:
    with rig.loaded(8):
        time.sleep(2)
        rig.broker.kill()
        time.sleep(3)
        rig.broker.start()


def _broker_and_ingest_killed(rig: KafkaRig) -> None:
    """What was acknowledged while the broker was away is on the disk of `ingest`."""
    rig.broker.kill()
    with rig.loaded(2):
        pass
    rig.ingest.kill()
    rig.ingest.start()
    rig.broker.start()
    with rig.loaded(2):
        pass


def _no_samplers(rig: KafkaRig) -> None:
    for place in range(len(rig.samplers)):
        _stopped(rig, place)
    with rig.loaded(4):
        pass
    for sampler in rig.samplers:
        sampler.start()


def _backends_away(rig: KafkaRig) -> None:
    """Queues that hold little are full soon: the rest waits in Kafka, and a kill -9 in the midst changes nothing."""
    for backend in rig.backends.values():
        backend.behave(code=14)
    with rig.loaded(8):
        time.sleep(6)
    rig.samplers[0].kill()
    rig.samplers[0].start()
    time.sleep(3)
    for backend in rig.backends.values():
        backend.behave()


_TICK = 16 * 7 * PARTS * SPANS  # spans of the traces that one second decides
KAFKA_DRILLS: tuple[KafkaDrill, ...] = (
    KafkaDrill("Kafka: nothing breaks", _ZERO, _calm),
    KafkaDrill("Kafka: samplers scaled out, 1 to 3, under load", _ZERO, _scale_out, samplers=1),
    KafkaDrill("Kafka: samplers scaled in, 3 to 1, under load", _ZERO, _scale_in, samplers=3),
    KafkaDrill(
        "Kafka: samplers scaled in, 3 to 1, backends slow: 1.5 s an answer", _ZERO, _scale_in_slowly, samplers=3
    ),
    KafkaDrill("Kafka: SIGTERM and start of each sampler under load", _ZERO, _rolling),
    KafkaDrill("Kafka: one sampler more, SIGTERM of the first, under load", _ZERO, _come_and_go, 1, short=True),
    KafkaDrill("Kafka: kill -9 of one of two samplers under load", _KILLED, _killed, doubled=_TICK, short=True),
    KafkaDrill("Kafka: kill -9 of the only sampler, three times, under load", _KILLED, _killed_thrice, 1, 3 * _TICK),
    KafkaDrill("Kafka: broker kill -9 and start under load", _KILLED, _broker_killed, doubled=_TICK, alone=True),
    KafkaDrill(
        "Kafka: broker away, ingest kill -9 with a queue", _ZERO, _broker_and_ingest_killed, short=True, alone=True
    ),
    KafkaDrill("Kafka: every sampler away for a while", _ZERO, _no_samplers),
    KafkaDrill(
        "Kafka: both backends away, their queues full, kill -9 of a sampler",
        _FULL,
        _backends_away,
        doubled=_TICK,
        env={"OTELCOL_QUEUE_BYTES": "1000000"},
        payload=30_000,
    ),
)
