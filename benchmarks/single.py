"""Processes that run once: what a start costs, and what encoding a span costs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers import Peer
from benchmarks.rounds import OFTEN
from benchmarks.site import Site
from benchmarks.stats import order

_PROGRAMS = ("pass", "import", "use")
_PROMISED = frozenset({"bare", "ours", "upstream", "floor", "ours-stock"})
"""Who is part of a promise about starts, of the first two programs."""


def run_starts(site: Site, peers: Sequence[Peer], rounds: int) -> list[dict[str, Any]]:
    """Starts `python -c pass` and an application of the four libraries, under each peer's launcher.

    The peers of the promises have `OFTEN` times the starts of the programs that those are about: the least of a dozen
    starts of half a second still differs by a fifth from that of the next dozen.

    The application ends when it is imported, and once more when it has answered a request and asked a database and a
    server: what is put off until then is no less of a cost.

    Returns:
        One row a round, case ("start-pass", "start-import", "start-use") and peer: `cpu_ms` of the whole process tree
        from start to exit, `peak_mb`, and for the application `rss_mb`, its resident memory when it is ready.
    """
    rows = []
    by_name = {peer.name: peer for peer in peers}
    for program in _PROGRAMS:
        able = [peer.name for peer in peers if program != "pass" or peer.launcher or peer.name == "bare"]
        often = [name for name in able if name in _PROMISED] if program != "use" else []
        # the first one writes bytecode and fills the page cache: not counted
        for turn in range(-1, rounds * OFTEN if often else rounds):
            if turn == rounds:
                able = often
            for name in order(able, turn + 1):
                peer = by_name[name]
                command = site.command(peer, "-c", "pass") if program == "pass" else site.workload(peer, program)
                row = _start(command, site.environment(peer))
                if turn >= 0 or "failed" in row:
                    rows.append({"round": turn, "case": f"start-{program}", "peer": name, **row})
    return rows


def _start(command: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    with subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            return {"failed": f"ended with {process.returncode}"}
    row: dict[str, Any] = {"cpu_ms": 1000 * (usage.ru_utime + usage.ru_stime), "peak_mb": usage.ru_maxrss / 1024}
    if output.strip():
        row["rss_mb"] = json.loads(output.splitlines()[-1])["rss"] / 2**20
    return row


def run_encoders(site: Site, peers: Sequence[Peer], rounds: int) -> list[dict[str, Any]]:
    """Encodes spans of ten attributes, of upstream's and of our tracer, each with its own encoder.

    Returns:
        One row a round and peer, case "encode": `cpu_us` a span.
    """
    encoders = {"ours": "ours", "upstream": "upstream"}
    able = {peer.name: peer for peer in peers if peer.name in encoders}
    rows = []
    for turn in range(rounds):
        for name in order(list(able), turn):
            environment = {**site.environment(able[name]), "OTEL_METRICS_EXPORTER": "none"}
            command = site.workload(able[name], "encode", "--encoder", encoders[name])
            result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            row: dict[str, Any] = {"round": turn, "case": "encode", "peer": name}
            if result.returncode:
                row |= {"round": None, "failed": (result.stderr.strip().splitlines() or ["no reason given"])[-1]}
            else:
                row |= json.loads(result.stdout.splitlines()[-1])
            rows.append(row)
    return rows
