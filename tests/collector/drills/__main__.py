"""scripts/drills: every drill, or those whose name holds a word; a table whose drills all ran is put into the docs."""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.collector.drills.catalogue import DRILLS
from tests.collector.drills.kafka import KAFKA_DRILLS, run_kafka_drill
from tests.collector.drills.run import run_drill, table
from tests.otlp_servers import Certificates
from tests.servers import KafkaServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.collector.drills.catalogue import Drill
    from tests.collector.drills.kafka import KafkaDrill
    from tests.collector.drills.rig import Outcome
    from tests.collector.drills.senders import Sdk

_ROOT = Path(__file__).resolve().parents[3]
_PAGE = _ROOT / "docs" / "collector-drills.md"
_LOGS = _ROOT / "test-logs" / "drills"
_KAFKA_HEADING = "## Through Kafka"


def main(words: list[str]) -> int:
    """Exit status 1 when a drill was not as expected, 2 where a word is of none."""
    names = [drill.name for drill in (*DRILLS, *KAFKA_DRILLS)]
    if {"-h", "--help"} & set(words):
        print("usage: scripts/drills [word ...]\n\nEach drill whose name holds one of the words, or all of them:\n")
        print("\n".join(f"  {name}" for name in names))
        return 0
    unknown = [word for word in words if not any(word.lower() in name.lower() for name in names)]
    if unknown:
        print(f"scripts/drills: no drill's name holds {unknown[0]!r} (--help lists them)", file=sys.stderr)
        return 2

    def named(name: str) -> bool:
        return not words or any(word.lower() in name.lower() for word in words)

    gateway = [drill for drill in DRILLS if named(drill.name)]
    kafka = [drill for drill in KAFKA_DRILLS if named(drill.name)]
    certificates = Certificates(Path(tempfile.mkdtemp(prefix="drills-")))
    problems = 0
    for name, running, whole in (
        ("page.md", _gateway(gateway, certificates), gateway == list(DRILLS)),
        ("kafka.md", _kafka(kafka, certificates), kafka == list(KAFKA_DRILLS)),
    ):
        began = time.monotonic()
        outcomes = list(_told(running))
        problems += sum(bool(outcome.problems) for outcome in outcomes)
        if outcomes:
            print("\n" + table(outcomes))
        if whole:
            _renew(name, table(outcomes), time.monotonic() - began)
    return 1 if problems else 0


def _gateway(drills: list[Drill], certificates: Certificates) -> Iterator[Outcome]:
    senders: tuple[Sdk | None, ...] = (None, "upstream", "ours")
    cases = [(drill, sender) for drill in drills for sender in (senders if drill.sdks else senders[:1])]
    with ThreadPoolExecutor(2) as running:
        yield from running.map(lambda case: run_drill(case[0], _LOGS, certificates, case[1]), cases)


def _kafka(drills: list[KafkaDrill], certificates: Certificates) -> Iterator[Outcome]:
    if drills:
        with KafkaServer(_LOGS) as broker:
            for drill in drills:
                yield run_kafka_drill(drill, broker, _LOGS, certificates)


def _told(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    for outcome in outcomes:
        print(f"{outcome.drill} ({outcome.sender}): {'; '.join(outcome.problems) or 'as expected'}", flush=True)
        yield outcome


def _renew(name: str, rows: str, seconds: float) -> None:
    """Put a table that a run has made into the page; the other one stays."""
    made = f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()}, {seconds:.0f} s"
    text = (_ROOT / "tests" / "collector" / "drills" / name).read_text().format(made=made, table=rows)
    gateway, heading, kafka = _PAGE.read_text().partition(_KAFKA_HEADING)
    _PAGE.write_text(text + "\n" + heading + kafka if name == "page.md" else gateway.rstrip() + "\n\n" + text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
