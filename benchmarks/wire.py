"""Requests a second over a real uvicorn, behind it the counting sink or a real collector."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.peers import ROOT, Peer
from benchmarks.processes import Child, Failed, free_port, listening, wait_until
from benchmarks.rounds import Plan
from benchmarks.servers import Sink
from benchmarks.site import Site
from benchmarks.stats import order

CONNECTIONS = 16
_PATH = "/items/7"


def run(
    case: str, site: Site, sink: Sink, peers: Sequence[Peer], plan: Plan, *, otlp: str | None = None
) -> list[dict[str, Any]]:
    """Starts one uvicorn a peer, then loads one after the other, the order turning each round.

    Args:
        case: Name in the rows.
        otlp: Far end of OTLP instead of the sink.

    Returns:
        One row a round and peer: `rps`, `cpu_us` of the server a request (in steps of 10 ms over the round),
        latencies `p50`, `p99`, `p99.9` and `max` in milliseconds, `arrived` spans and those `sent`.
    """
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        servers: dict[str, tuple[Child, int]] = {}
        spans: dict[str, float] = {}
        for peer in peers:
            port = free_port()
            child = Child(site.workload(peer, "serve", "--port", str(port)), site.environment(peer, otlp), peer.name)
            servers[peer.name] = stack.enter_context(child), port
        for peer in peers:
            try:
                child, port = servers[peer.name]
                child.pid = int(child.line())
                wait_until(lambda port=port: listening(port), f"uvicorn of {peer.name}")  # type: ignore[misc]
                spans[peer.name] = _warm(port, sink, exact=peer.exact)
                child.tell(signal.SIGSTOP)  # until it is measured
            except Failed as failure:
                print(f"  {peer.name} cannot do {case}: {failure}", flush=True)
                rows.append({"round": None, "case": case, "peer": peer.name, "failed": str(failure)})
        for turn in range(plan.rounds):
            for name in order(list(spans), turn):
                child, port = servers[name]
                with child.awake():
                    row = _measure(child, port, sink, spans[name], plan)
                rows.append({"round": turn, "case": case, "peer": name, **row})
    return rows


def _load(port: int, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.load", "--port", str(port), "--path", _PATH]
    command += ["--connections", str(CONNECTIONS), "--seconds", str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise Failed(f"the load client ended with {result.returncode}")
    found: dict[str, float] = json.loads(result.stdout)
    return found


def _warm(port: int, sink: Sink, *, exact: bool) -> float:
    """Spans of one request; 0 where the peer samples, so that none is waited for."""
    _load(port, 0.5)
    _settled(sink)
    sent = _load(port, 0.5)["requests"]
    arrived = _settled(sink)
    return round(arrived / sent, 2) if exact else 0.0


def _settled(sink: Sink) -> int:
    """Spans that arrive until none does for two seconds: nobody can tell a server to flush."""
    total = 0
    while True:
        arrived, _ = sink.spans(1, seconds=2.0)
        if not arrived:
            return total
        total += arrived


def _measure(child: Child, port: int, sink: Sink, spans: float, plan: Plan) -> dict[str, Any]:
    sink.spans(0, seconds=0.1)
    before = child.cpu()
    load = _load(port, plan.seconds)
    sent = round(spans * load["requests"])
    arrived, metrics = sink.spans(sent, seconds=6.0)
    time.sleep(0.2)
    cpu = child.cpu() - before
    return {
        **load,
        "rps": load["requests"] / load["wall_s"],
        "cpu_us": 1e6 * cpu / load["requests"],
        "sent": sent or None,
        "arrived": arrived,
        "metric_exports": metrics,
    }
