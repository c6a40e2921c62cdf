"""The far ends of a run: the counting sink, a real Redis, a real collector."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import urllib.request

from benchmarks.peers import ROOT
from benchmarks.processes import Child, Failed, free_port, listening, wait_until


class Sink(Child):
    """The counting far end (benchmarks/sink)."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        super().__init__([sys.executable, "-m", "benchmarks.sink"], environment, "sink")
        self.port = int(self.line())
        self.url = f"http://127.0.0.1:{self.port}"
        self._seen: list[tuple[str, dict[str, int]]] = []

    def forget(self) -> None:
        """Nothing that arrived so far counts."""
        self.counts()
        self._seen.clear()

    def counts(self) -> dict[str, dict[str, int]]:
        """What arrived since the last call, by path: spans, bodies and bytes."""
        with urllib.request.urlopen(f"{self.url}/counts", timeout=60) as answer:
            found: dict[str, dict[str, int]] = json.load(answer)
        return found

    def spans(self, path: str, expected: float, seconds: float = 3.0) -> tuple[int, int]:
        """Spans and metric exports that arrived below `path` since the last call; waits for `expected` spans, but not
        for ever."""
        spans = metrics = 0
        deadline = time.monotonic() + seconds
        while True:
            self._seen += [(at, count) for at, count in self.counts().items()]
            for at, count in self._seen:
                if at.startswith(path):
                    spans += count["spans"]
                    metrics += count["bodies"] if at.endswith("/v1/metrics") else 0
            self._seen = [(at, count) for at, count in self._seen if not at.startswith(path)]
            if spans >= expected or time.monotonic() > deadline:
                return spans, metrics
            time.sleep(0.05)


class Redis(Child):
    """A real redis-server that keeps nothing.

    Raises:
        Failed: there is no redis-server on PATH.
    """

    def __init__(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise Failed("redis-server is not on PATH: the Debian package redis-server brings it")
        self.port = free_port()
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        super().__init__([program, *options], os.environ, "redis")
        wait_until(lambda: listening(self.port), "redis-server")


class Collector(Child):
    """A real OpenTelemetry Collector that hands everything on to the sink.

    Raises:
        Failed: it did not start.
    """

    def __init__(self, program: str, sink: Sink) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = {
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{self.port}"}}}},
            "exporters": {"otlphttp": {"endpoint": f"{sink.url}/collector", "compression": "none"}},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {
                    signal: {"receivers": ["otlp"], "exporters": ["otlphttp"]} for signal in ("traces", "metrics")
                },
            },
        }
        super().__init__([program, f"--config=yaml:{json.dumps(config)}"], os.environ, "collector")
        try:
            wait_until(lambda: listening(self.port), "collector")
        except Failed as failure:
            words = self.last_words()
            self.stop()
            raise Failed(f"{failure}; {words}") from None
