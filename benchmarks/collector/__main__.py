"""`scripts/collector-bench`: what the collector costs, measured and written to benchmarks/results/collector."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.collector import build, measure, report, setups
from benchmarks.collector.brokered import through_kafka
from benchmarks.collector.results import FILE, Results
from tests.otlp_servers import Certificates
from tests.servers import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.collector.rig import Setup

_PARTS = ("steady", "flat_out", "kafka", "backlog")


def main(arguments: list[str]) -> int:
    """Exit status 0 when everything that was sent has arrived."""
    parser = argparse.ArgumentParser(prog="scripts/collector-bench", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(_PARTS)} and build; all but build when none is named")
    parser.add_argument("--quick", action="store_true", help="one round of three seconds, 200 MB of backlog")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each round")
    parser.add_argument("--backlog-mb", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=FILE.parent, help="other parts' figures there are kept")
    parser.add_argument("--render", action="store_true", help="write report, plot and page again from the raw figures")
    chosen = parser.parse_args(arguments)
    if chosen.quick:
        chosen.rounds, chosen.seconds, chosen.backlog_mb = 1, 3.0, 200
    chosen.output.mkdir(parents=True, exist_ok=True)
    raw = chosen.output / "results.json"
    known: dict[str, Any] = json.loads(raw.read_text()) if raw.exists() else {}
    if not chosen.render:
        with tempfile.TemporaryDirectory(prefix="collector-bench-") as folder:
            work = Path(folder)
            run = Run(work, Certificates(work), chosen.rounds, chosen.seconds, chosen.backlog_mb)
            known["meta"] = run.meta()
            for part in chosen.parts or _PARTS:
                known[part] = run.parts()[part]()
                raw.write_text(json.dumps(known, indent=1) + "\n")  # now: what comes next may fail
    if left := [part for part in ("meta", "steady", "flat_out", "backlog") if part not in known]:
        print(f"collector-bench: no report before {', '.join(left)} are measured into {raw}", file=sys.stderr)
        return 0
    results = Results.load(raw)
    report.write(results, chosen.output)
    return 1 if results.lost else 0


@dataclass(frozen=True, slots=True)
class Run:
    """The parts of one run."""

    work: Path
    certificates: Certificates
    rounds: int
    seconds: float
    backlog_mb: int

    def parts(self) -> dict[str, Callable[[], Any]]:
        """Each by its name in the file of results."""
        return {
            "steady": lambda: self._rounds(setups.STEADY, measure.RATE),
            "flat_out": self._flat_out,
            "kafka": self._kafka,
            "backlog": self._backlog,
            "build": build.cold,
        }

    def meta(self) -> dict[str, Any]:
        """Where, when and how."""
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
        return {
            "date": time.strftime("%Y-%m-%d"),
            "machine": f"{os.cpu_count()} cores, {next(names, platform.machine())}",
            "rate": measure.RATE,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "load_before": os.getloadavg()[0],
        }

    def _rounds(self, chosen: Sequence[Setup], rate: float) -> list[dict[str, Any]]:
        """All setups once, then all again, so that a slow minute of the machine does not hit one alone."""
        found: list[dict[str, Any]] = [{"title": setup.title, "rounds": []} for setup in chosen]
        for _ in range(self.rounds):
            for setup, kept in zip(chosen, found, strict=True):
                one = measure.steady(setup, self.work / "logs", self.certificates, rate=rate, seconds=self.seconds)
                _note(kept, one)
        return found

    def _flat_out(self) -> list[dict[str, Any]]:
        found = self._rounds([setup for setup, _ in setups.FLAT_OUT], rate=0)
        return [{**each, "wanted": wanted} for each, (_, wanted) in zip(found, setups.FLAT_OUT, strict=True)]

    def _kafka(self) -> list[dict[str, Any]]:
        """`ingest` and `consume`; nothing where a broker cannot be had or is too slow."""
        found: list[dict[str, Any]] = [{"title": title, "rounds": []} for title in ("ingest", "consume")]
        try:
            for _ in range(self.rounds):
                both = through_kafka(self.work / "logs", self.certificates, rate=measure.RATE, seconds=self.seconds)
                for kept, one in zip(found, both, strict=True):
                    _note(kept, one)
        except (ServerError, TimeoutError) as error:
            print(f"left out: ingest and consume: {error}", file=sys.stderr)
        return [each for each in found if each["rounds"]]

    def _backlog(self) -> dict[str, Any]:
        print(f"backlog of {self.backlog_mb} MB", file=sys.stderr)
        size = self.backlog_mb * 1_000_000
        return measure.backlog(setups.BACKLOG, self.work / "logs", self.certificates, size=size).as_json()


def _note(kept: dict[str, Any], one: measure.Steady) -> None:
    kept["rounds"].append(asdict(one))
    print(f"round {len(kept['rounds'])}: {kept['title']}: {one.cpu_us:.1f} us a span", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
