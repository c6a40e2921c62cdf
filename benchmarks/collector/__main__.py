"""`scripts/collector-bench`: what the collector costs, measured and written to benchmarks/results/collector."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.collector import build, measure, report, setups
from benchmarks.collector.brokered import through_kafka
from benchmarks.collector.results import FILE, Results
from tests.otlp_servers import Certificates
from tests.servers import ServerError
from tests.servers.binaries import collector_binary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.collector.rig import Setup


def main(arguments: list[str]) -> int:
    """Exit status 0 when everything that was sent has arrived."""
    parser = argparse.ArgumentParser(prog="scripts/collector-bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one round of three seconds, 200 MB of backlog; a minute or two"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each round")
    parser.add_argument("--backlog-mb", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=FILE.parent)
    parser.add_argument("--render", action="store_true", help="write report, plot and page again from the raw figures")
    parser.add_argument("--cold-build", action="store_true", help="only build everything in empty caches, and note it")
    chosen = parser.parse_args(arguments)
    if chosen.quick:
        chosen.rounds, chosen.seconds, chosen.backlog_mb = 1, 3.0, 200
    chosen.output.mkdir(parents=True, exist_ok=True)
    raw = chosen.output / "results.json"
    known = json.loads(raw.read_text()) if raw.exists() else {}
    if chosen.cold_build:
        known["build"] = build.cold()
    elif not chosen.render:
        known |= _measured(chosen.rounds, chosen.seconds, chosen.backlog_mb)
    raw.write_text(json.dumps(known, indent=1) + "\n")
    results = Results.load(raw)
    report.write(results, chosen.output)
    lost = sum(row.missing for row in (*results.steady(), *results.flat_out())) + results.backlog["missing"]
    if lost:
        print(f"collector-bench: {lost} spans that were acknowledged have not arrived", file=sys.stderr)
    return 1 if lost else 0


def _measured(rounds: int, seconds: float, backlog_mb: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="collector-bench-") as folder:
        work = Path(folder)
        certificates = Certificates(work)
        logs = work / "logs"
        before = os.getloadavg()[0]
        rounds_of = partial(_rounds, rounds=rounds, seconds=seconds, logs=logs, certificates=certificates)
        steady = rounds_of(setups.STEADY, rate=measure.RATE)
        flat = rounds_of([setup for setup, _ in setups.FLAT_OUT], rate=0)
        brokered = _brokered(rounds, seconds, logs, certificates)
        print(f"backlog of {backlog_mb} MB", file=sys.stderr)
        filled = measure.backlog(setups.BACKLOG, logs, certificates, size=backlog_mb * 1_000_000)
    return {
        "meta": {
            "date": time.strftime("%Y-%m-%d"),
            "machine": f"{os.cpu_count()} cores, {_processor()}",
            "rate": measure.RATE,
            "rounds": rounds,
            "seconds": seconds,
            "backlog_mb": backlog_mb,
            "load_before": before,
            "load_after": os.getloadavg()[0],
            "binary_bytes": Path(collector_binary()).stat().st_size,
        },
        "steady": steady + brokered,
        "flat_out": [{**each, "wanted": wanted} for each, (_, wanted) in zip(flat, setups.FLAT_OUT, strict=True)],
        "backlog": filled.as_json(),
    }


def _rounds(
    chosen: Sequence[Setup], *, rate: float, rounds: int, seconds: float, logs: Path, certificates: Certificates
) -> list[dict[str, Any]]:
    """All setups once, then all again, so that a slow minute of the machine does not hit one alone."""
    found: list[dict[str, Any]] = [{"title": setup.title, "rounds": []} for setup in chosen]
    for number in range(rounds):
        for setup, kept in zip(chosen, found, strict=True):
            one = measure.steady(setup, logs, certificates, rate=rate, seconds=seconds)
            kept["rounds"].append(asdict(one))
            print(f"round {number + 1}: {setup.title}: {one.cpu_us:.1f} us a span", file=sys.stderr)
    return found


def _brokered(rounds: int, seconds: float, logs: Path, certificates: Certificates) -> list[dict[str, Any]]:
    """`ingest` and `consume`; nothing where a broker cannot be had."""
    found: list[dict[str, Any]] = [{"title": title, "rounds": []} for title in ("ingest", "consume")]
    try:
        for _ in range(rounds):
            both = through_kafka(logs, certificates, rate=measure.RATE, seconds=seconds)
            for kept, one in zip(found, both, strict=True):
                kept["rounds"].append(asdict(one))
                print(f"{kept['title']}: {one.cpu_us:.1f} us a span", file=sys.stderr)
    except ServerError as error:
        print(f"left out: ingest and consume: {error}", file=sys.stderr)
    return [each for each in found if each["rounds"]]


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
