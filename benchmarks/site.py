"""Where things are in a run, and how a peer is started there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.peers import PEERS, ROOT, Peer
from benchmarks.servers import Redis, Sink

WORKLOAD = ROOT / "benchmarks" / "workload"
_MOST_VARIABLES = max(len(peer.environment) for peer in PEERS)


class Site:
    """Where things are in this run, and how a peer is started here.

    Args:
        environments: Virtual environment of each peer by its name.
        sink: The counting far end.
        interval_ms: Delay of the span exports, milliseconds.
        redis: The Redis of the cases that need one, if there is one.
    """

    def __init__(self, environments: Mapping[str, Path], sink: Sink, interval_ms: int, redis: Redis | None) -> None:
        self._environments = environments
        self._sink = sink
        self._interval_ms = interval_ms
        self._redis = redis

    def command(self, peer: Peer, *arguments: str) -> list[str]:
        """`launcher python arguments` of the peer's own environment."""
        programs = self._environments[peer.name] / "bin"
        launcher = [str(programs / peer.launcher[0]), *peer.launcher[1:]] if peer.launcher else []
        return [*launcher, str(programs / "python"), *arguments]

    def workload(self, peer: Peer, mode: str, *options: str) -> list[str]:
        """Command of the measured program in one of its modes."""
        return self.command(peer, str(WORKLOAD), mode, "--setup", peer.setup, *options)

    def environment(self, peer: Peer, otlp: str | None = None) -> dict[str, str]:
        """All variables of a peer's process; `otlp` replaces the sink as the far end of OTLP."""
        known = {
            "name": peer.name,
            "sink": self._sink.url,
            "otlp": otlp or f"{self._sink.url}/{peer.name}",
            "sentry": f"http://key@127.0.0.1:{self._sink.port}",
            "interval_ms": str(self._interval_ms),
            "interval_s": str(self._interval_ms / 1000),
        }
        programs = self._environments[peer.name] / "bin"
        variables = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "HOME": str(Path.home()),
            "LANG": "C.UTF-8",
            "PYTHONHASHSEED": "0",  # the same layout of dictionaries for all
            "BENCH_HTTP_URL": f"{self._sink.url}/ok",
            **{name: value.format(**known) for name, value in peer.environment.items()},
            # as many for all: requests looks at every variable four times in each call, whatever it is for
            **{f"BENCH_FILLER_{number:02}": "0" for number in range(_MOST_VARIABLES - len(peer.environment))},
        }
        if self._redis is not None:
            variables["BENCH_REDIS_URL"] = f"redis://127.0.0.1:{self._redis.port}"
        return variables
