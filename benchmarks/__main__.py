"""`scripts/bench`: measures the peers side by side and writes tables, raw figures and a plot."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import rounds, single, wire
from benchmarks.environments import PLOT_REQUIREMENTS, cache, environment_of, prepare, versions
from benchmarks.peers import PEERS, ROOT, Peer
from benchmarks.processes import Failed
from benchmarks.report import markdown
from benchmarks.results import BASE, Results
from benchmarks.rounds import Plan
from benchmarks.servers import Collector, Redis, Sink
from benchmarks.site import Site
from benchmarks.workload.cases import CASES

_PROCESS_CASES = ("uvicorn", "collector", "start", "encode")
_ALL_CASES = (*(case.name for case in CASES), *_PROCESS_CASES)
_OTLP_PEERS = ("bare", "ours", "upstream", "upstream-tuned", "native", "logfire")
_STARTS = 3  # starts for each round: they take a second, and are disturbed more
_QUIET = 0.5


@dataclass(frozen=True, slots=True)
class Options:
    """What one call of the command asks for."""

    peers: tuple[Peer, ...]
    cases: tuple[str, ...]
    plan: Plan
    interval_ms: int
    output: Path
    quick: bool
    wait: float
    collector: str | None


def options(arguments: Sequence[str]) -> Options | Path:
    """Reads the command line; a path alone where only the report of an earlier run is wanted again."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="bare, ours and contrib, few cases, about two minutes")
    parser.add_argument("--peers", help=f"comma separated, of: {', '.join(peer.name for peer in PEERS)}")
    parser.add_argument("--cases", help=f"comma separated, of: {', '.join(_ALL_CASES)}")
    parser.add_argument("--rounds", type=int, help="rounds of everything (default 5)")
    parser.add_argument("--interval-ms", type=int, help="export delay of spans (quick: 100, else 200)")
    parser.add_argument("--seconds", type=float, help="length of a round, at least ten export delays (the default: 11)")
    parser.add_argument("--output", type=Path, default=cache() / "results", help="directory of the results")
    parser.add_argument("--wait-for-quiet", type=float, default=0, metavar="SECONDS", help="wait for a load below 0.5")
    parser.add_argument("--collector", help="program; else what scripts/build-collector prints, if it is there")
    parser.add_argument("--render", type=Path, metavar="DIRECTORY", help="only write report and plot again")
    given = parser.parse_args(arguments)
    if given.render:
        return Path(given.render)
    interval = given.interval_ms or (100 if given.quick else 200)
    seconds = given.seconds or 11 * interval / 1000
    if seconds * 1000 < 10 * interval:
        parser.error("a round must last at least ten export delays, or the export hides behind its end")
    quick_cases = tuple(case.name for case in CASES if case.quick)
    return Options(
        peers=_selected_peers(parser, given.peers, quick=given.quick),
        cases=_selected(parser, given.cases, _ALL_CASES, quick_cases if given.quick else _ALL_CASES),
        plan=Plan(given.rounds or 5, seconds),
        interval_ms=interval,
        output=given.output.absolute(),
        quick=given.quick,
        wait=given.wait_for_quiet,
        collector=given.collector,
    )


def _selected(
    parser: argparse.ArgumentParser, given: str | None, known: Sequence[str], default: tuple[str, ...]
) -> tuple[str, ...]:
    chosen = tuple(given.split(",")) if given else default
    for name in chosen:
        if name not in known:
            parser.error(f"{name!r} is none of {', '.join(known)}")
    return chosen


def _selected_peers(parser: argparse.ArgumentParser, given: str | None, *, quick: bool) -> tuple[Peer, ...]:
    default = tuple(peer.name for peer in PEERS if peer.quick or not quick)
    chosen = {BASE, *_selected(parser, given, [peer.name for peer in PEERS], default)}
    return tuple(peer for peer in PEERS if peer.name in chosen)


def measure(wanted: Options) -> Results:
    """Makes the environments, measures, and gives everything back; peers and cases that cannot run are named."""
    environments = prepare(wanted.peers)
    _wait_for_quiet(wanted.wait)
    before = os.getloadavg()[0]
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        sink = stack.enter_context(Sink())
        redis = _redis(stack)
        site = Site(environments, sink, wanted.interval_ms, redis)
        cases = [case for case in CASES if case.name in wanted.cases and (redis or case.needs != "redis")]
        print(f"{len(cases)} cases, {len(wanted.peers)} peers, {wanted.plan.rounds} rounds", flush=True)
        rows += rounds.run(site, sink, wanted.peers, cases, wanted.plan)
        if "uvicorn" in wanted.cases:
            able = [peer for peer in wanted.peers if peer.cases is None or "uvicorn" in peer.cases]
            rows += wire.run("uvicorn", site, sink, able, wanted.plan)
        if "collector" in wanted.cases:
            rows += _behind_collector(wanted, site, sink)
        if "start" in wanted.cases:
            able = [peer for peer in wanted.peers if peer.cases is None or "startup" in peer.cases]
            rows += single.run_starts(site, able, _STARTS * wanted.plan.rounds)
        if "encode" in wanted.cases:
            rows += single.run_encoders(site, wanted.peers, wanted.plan.rounds)
    return Results(_meta(wanted, environments, before), rows)


def _redis(stack: ExitStack) -> Redis | None:
    try:
        return stack.enter_context(Redis())
    except Failed as failure:
        print(f"without the Redis cases: {failure}")
        return None


def _behind_collector(wanted: Options, site: Site, sink: Sink) -> list[dict[str, Any]]:
    able = [peer for peer in wanted.peers if peer.name in _OTLP_PEERS]
    try:
        with Collector(wanted.collector or _built_collector(), sink) as collector:
            return wire.run("collector", site, sink, able, wanted.plan, otlp=collector.url)
    except Failed as failure:
        print(f"without a collector: {failure}")
        return [{"round": None, "case": "collector", "peer": BASE, "failed": str(failure)}]


def _built_collector() -> str:
    script = ROOT / "scripts" / "build-collector"
    if not script.exists():
        raise Failed("there is no scripts/build-collector")
    result = subprocess.run([str(script)], stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise Failed(f"scripts/build-collector ended with {result.returncode}")
    return result.stdout.strip().splitlines()[-1]


def _wait_for_quiet(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while os.getloadavg()[0] >= _QUIET and time.monotonic() < deadline:
        time.sleep(5)
    if os.getloadavg()[0] >= _QUIET:
        print(f"load average {os.getloadavg()[0]:.2f}: others use this machine, the figures will be noisy", flush=True)


def _meta(wanted: Options, environments: dict[str, Path], before: float) -> dict[str, Any]:
    held = {peer.name: versions(environments[peer.name]) for peer in wanted.peers}
    named = {peer.name: _named(peer, held[peer.name]) for peer in wanted.peers}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {_processor()}",
        "python": platform.python_version(),
        "rounds": wanted.plan.rounds,
        "seconds": wanted.plan.seconds,
        "interval_ms": wanted.interval_ms,
        "load_before": before,
        "load_after": os.getloadavg()[0],
        "versions": named,
        "base": held[BASE],
    }


def _named(peer: Peer, held: dict[str, str]) -> dict[str, str]:
    """Versions of the packages that the peer itself names; and of this checkout."""
    names = [item.split("=")[0].split(">")[0].split("[")[0] for item in peer.requirements]
    found = {name: held[name] for name in names if name in held and name != "hatchling"}
    return {"otel-distro": held.get("otel-distro", "not installed"), **found} if peer.checkout else found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def write(results: Results, directory: Path) -> None:
    """Writes `report.md` and the plot of a run into the directory."""
    (directory / "report.md").write_text(markdown(results))
    python = environment_of(PLOT_REQUIREMENTS) / "bin" / "python"
    command = [str(python), "-m", "benchmarks.plot", str(directory / "results.json"), str(directory)]
    subprocess.run(command, cwd=ROOT, check=True)


def main() -> None:
    """Runs what the command line asks for."""
    wanted = options(sys.argv[1:])
    if isinstance(wanted, Path):
        write(Results.load(wanted / "results.json"), wanted)
        return
    results = measure(wanted)
    wanted.output.mkdir(parents=True, exist_ok=True)
    results.save(wanted.output / "results.json")
    write(results, wanted.output)
    print((wanted.output / "report.md").read_text())
    print(f"written to {wanted.output}")


if __name__ == "__main__":
    main()
