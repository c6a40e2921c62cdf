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
        servers = [_Server(stack, site, sink, peer, otlp) for peer in peers]
        ready = {}
        for server in servers:
            try:
                server.warm()
                ready[server.name] = server
            except Failed as failure:
                print(f"  {server.name} cannot do {case}: {failure}", flush=True)
                rows.append({"round": None, "case": case, "peer": server.name, "failed": str(failure)})
        for turn in range(plan.rounds):
            rows += [
                {"round": turn, "case": case, "peer": name, **ready[name].measure(plan.seconds)}
                for name in order(list(ready), turn)
            ]
    return rows


class _Server:
    """A running uvicorn of one peer; it stands still unless it is measured."""

    def __init__(self, stack: ExitStack, site: Site, sink: Sink, peer: Peer, otlp: str | None) -> None:
        self.name = peer.name
        self._exact = peer.exact
        self._sink = sink
        self._path = "/collector/" if otlp else peer.far_end
        self._port = free_port()
        self._spans = 0.0
        command = site.workload(peer, "serve", "--port", str(self._port))
        self._child = stack.enter_context(Child(command, site.environment(peer, otlp), peer.name))

    def warm(self) -> None:
        """Waits for it and learns the spans of one request; none where the peer samples, so that none is waited for.

        Raises:
            Failed: it does not serve.
        """
        self._child.line()
        wait_until(lambda: listening(self._port), f"uvicorn of {self.name}")
        _load(self._port, 0.5)
        self._settled()
        sent = _load(self._port, 0.5)["requests"]
        arrived = self._settled()
        self._spans = round(arrived / sent, 2) if self._exact else 0.0
        self._child.tell(signal.SIGSTOP)

    def measure(self, seconds: float) -> dict[str, Any]:
        """One round; the CPU time ends when the last span has arrived."""
        with self._child.awake():
            self._sink.forget()
            before = self._child.cpu()
            load = _load(self._port, seconds)
            sent = round(self._spans * load["requests"])
            arrived, metrics = self._sink.spans(self._path, sent, seconds=6.0)
            time.sleep(0.2)
            cpu = self._child.cpu() - before
        return {
            **load,
            "rps": load["requests"] / load["wall_s"],
            "cpu_us": 1e6 * cpu / load["requests"],
            "spans": self._spans,
            "sent": sent or None,
            "arrived": arrived,
            "metric_exports": metrics,
        }

    def _settled(self) -> int:
        """Spans that arrive until none does for two seconds: nobody can tell a server to flush."""
        total = 0
        while True:
            arrived, _ = self._sink.spans(self._path, 1, seconds=2.0)
            if not arrived:
                return total
            total += arrived


def _load(port: int, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.load", "--port", str(port), "--path", _PATH]
    command += ["--connections", str(CONNECTIONS), "--seconds", str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise Failed(f"the load client ended with {result.returncode}")
    found: dict[str, float] = json.loads(result.stdout)
    return found
