"""`python -m benchmarks.instructions`: machine instructions of a request, which no neighbour on the machine can change.

Each peer runs the same requests under valgrind's callgrind, counted after as many for warming up, until everything has
been flushed: what all threads execute, with the export and the garbage collections that fall due. Instructions are not
time: code that runs once in a request waits more often for its instructions and data than the loop that serves it, so
the ratios of CPU time in `scripts/bench` are less favourable. They repeat to one in a hundred, on any machine.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.environments import prepare
from benchmarks.peers import PEERS, Peer
from benchmarks.processes import Failed, whole_run
from benchmarks.rounds import takes_part
from benchmarks.servers import Redis, Sink
from benchmarks.site import WORKLOAD, Site
from benchmarks.workload.cases import CASES, Case

_BASE = "bare"
_DEFAULT = "bare,ours,ours-off,ours-off-bare,upstream,upstream-off,upstream-off-bare,ddtrace,prometheus"
_COLLECTED = re.compile(r"Collected : (\d+)")
_CALLGRIND = ("valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file={out}")
_NEVER_MS = 3_600_000
"""Exports fall due by their number: time means nothing under valgrind."""


def instructions(site: Site, peer: Peer, case: Case, requests: int) -> float:
    """Instructions of one request, with its share of the export.

    Raises:
        Failed: the process ended otherwise than it should, or nothing was counted.
    """
    with tempfile.TemporaryDirectory() as directory:
        callgrind = [part.format(out=f"{directory}/callgrind.out") for part in _CALLGRIND]
        command = site.workload(peer, "count", "--case", case.name, "--requests", str(requests))
        at = command.index(str(WORKLOAD)) - 1  # python, behind the launcher if there is one
        what = f"{peer.name}, {case.name}"
        said = whole_run([*command[:at], *callgrind, *command[at:]], site.environment(peer), directory, what)
    found = _COLLECTED.search(said)
    if found is None or int(found[1]) == 0:
        raise Failed(f"{what}: nothing was counted; {said[-400:]}")
    return int(found[1]) / requests


def counted(site: Site, peers: Sequence[Peer], case: Case, requests: int) -> dict[str, float]:
    """Instructions of a request of one case by peer; who cannot do it is named and left out."""
    found = {}
    for peer in peers:
        if not takes_part(peer, case):
            continue
        try:
            found[peer.name] = instructions(site, peer, case, requests)
        except Failed as failure:
            print(f"  {peer.name} cannot do {case.name}: {failure}", flush=True)
            continue
        print(f"  {case.name:12} {peer.name:20} {found[peer.name]:12,.0f}", flush=True)
    return found


def table(case: Case, found: Mapping[str, float], plain: Mapping[str, float]) -> list[str]:
    """The case as Markdown: what each peer adds to a request or to one of its calls, and how much of it ours does."""
    added = {}
    for name, whole in found.items():
        if name == _BASE:
            continue
        added[name] = whole - found[_BASE]
        if case.calls:
            added[name] = (added[name] - (plain[name] - plain[_BASE])) / case.calls
    of = "call" if case.calls else "request"
    lines = ["", f"## {case.title}", "", f"| | instructions added to a {of} | ours of it |", "|---|---:|---:|"]
    for name, more in sorted(added.items(), key=lambda item: item[1]):
        share = "" if name.startswith("ours") or "ours" not in added else f"1/{more / added['ours']:.1f}"
        lines.append(f"| {next(peer.title for peer in PEERS if peer.name == name)} | {more:,.0f} | {share} |")
    return [*lines, "", f"The application alone: {found[_BASE]:,.0f} a request."]


def main() -> None:
    """Count, print, and write `report.md` and `results.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--peers", default=_DEFAULT, help="comma separated; names as of scripts/bench")
    parser.add_argument("--cases", default="plain", help="comma separated; calls need `plain` as well")
    parser.add_argument("--requests", type=int, default=2048)
    parser.add_argument("--output", type=Path, default=None, help="directory of the results")
    given = parser.parse_args()
    peers = [peer for peer in PEERS if peer.name in {_BASE, *given.peers.split(",")}]
    cases = [case for case in CASES if case.name in given.cases.split(",")]
    found: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        sink = stack.enter_context(Sink())
        redis = stack.enter_context(Redis()) if any(case.needs == "redis" for case in cases) else None
        site = Site(prepare(peers), sink, _NEVER_MS, redis)
        for case in cases:
            found[case.name] = counted(site, peers, case, max(given.requests // (case.calls or 1), 16))
    lines = ["# Instructions", "", (__doc__ or "").partition("\n\n")[2].strip()]
    for case in cases:
        lines += table(case, found[case.name], found.get("plain", {}))
    print("\n".join(lines))
    if given.output is not None:
        given.output.mkdir(parents=True, exist_ok=True)
        (given.output / "report.md").write_text("\n".join(lines) + "\n")
        (given.output / "results.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
