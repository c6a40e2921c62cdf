"""Hours in minutes: nothing comes twice, and neither memory nor the cost of a request may go on growing."""

from __future__ import annotations

import itertools
import os
import random
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.hardships.processes import Served, Threads
from tests.programs import OURS
from tests.servers import OtlpSink, RedisServer
from tests.servers.base import free_port
from tests.servers.waiting import http_get

_KINDS = ("n", "sql", "redis", "out", "own", "fails", "events", "nowhere")
_TICK = os.sysconf("SC_CLK_TCK")
_CLIENTS = 4


@dataclass(frozen=True)
class Moment:
    """One look at the process.

    Attributes:
        seconds: since the beginning.
        requests: sent so far.
        memory: resident bytes.
        cost: milliseconds of CPU time of a request since the look before.
        files: open descriptors.
        threads: of the process.
        page: bytes of its /metrics; 0 without the distro.
    """

    seconds: float
    requests: int
    memory: int
    cost: float
    files: int
    threads: int
    page: int

    def __str__(self) -> str:
        return (
            f"{self.seconds:6.0f} s {self.requests:9,} requests {self.memory / 1e6:7.1f} MB {self.cost:6.2f} ms each"
            f" {self.files:4} files {self.threads:3} threads {self.page:11,} bytes of /metrics"
        )


def soak(directory: Path, *, seconds: float, looks: int = 12, bare: bool = False) -> Sequence[Moment]:
    """Let every kind of thing that never comes twice come for `seconds`, and look at the process in between.

    Args:
        directory: for logs, database and spool.
        seconds: of load.
        looks: how often, evenly.
        bare: without the distro.
    """
    directory.mkdir(parents=True, exist_ok=True)
    moments: list[Moment] = []
    with OtlpSink() as sink, RedisServer(directory) as redis:
        page = free_port()
        app = ("uvicorn", "tests.hardships.endless:app", "--port", "{port}", "--log-level", "critical")
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
            "OTEL_METRICS_EXPORTER": "prometheus,otlp",
            "OTEL_METRIC_EXPORT_INTERVAL": "5000",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(page),
            "OTEL_DISTRO_LOGS": "json",
            "OTEL_DISTRO_HEALTH": "on",
            "OTEL_PYTHON_EXCLUDED_URLS": "/health$",
            "SOAK_DATABASE": str(directory / "soak.db"),
            "REDIS_URL": redis.url,
        }
        command = ("env", "SOAK_URL=http://127.0.0.1:{port}", *(() if bare else OURS), *app)
        with _Served(command, environ, directory / "soak.log") as served, _Load(served.port) as load:
            began, sent, spent = time.monotonic(), 0, served.cpu()
            for look in range(1, looks + 1):
                time.sleep(max(0.0, began + seconds * look / looks - time.monotonic()))
                scraped = 0 if bare else len(http_get(f"http://127.0.0.1:{page}/metrics", seconds=60))
                before, sent = sent, load.sent
                used, spent = served.cpu() - spent, served.cpu()
                sink.clear()
                moments.append(
                    Moment(
                        time.monotonic() - began,
                        sent,
                        max(served.memory().values()),
                        1000 * used / max(1, sent - before),
                        served.count("fd"),
                        served.count("task"),
                        scraped,
                    )
                )
                print(moments[-1], flush=True)
    return moments


class _Served(Served):
    """The one process of the application, looked at from outside."""

    def cpu(self) -> float:
        """Seconds of CPU time so far."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def count(self, what: str) -> int:
        """Entries of a directory of the process: `fd` or `task`."""
        return sum(1 for _ in Path(f"/proc/{self._pid}/{what}").iterdir())

    @property
    def _pid(self) -> int:
        return max(self.memory().items(), key=lambda item: item[1])[0]


class _Load(Threads):
    """Clients that send one thing after the other, each of another kind, some of them badly."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._numbers = itertools.count(10**6)
        self.sent = 0
        super().__init__(partial(self._run, seed) for seed in range(_CLIENTS))

    def _run(self, seed: int) -> None:
        chance = random.Random(seed)
        while not self.ending.is_set():
            number = next(self._numbers)
            kind = _KINDS[number % len(_KINDS)]
            try:
                with socket.create_connection(("127.0.0.1", self._port), timeout=10) as connection:
                    connection.sendall(_request(kind, number, chance).encode("latin-1"))
                    if kind == "events":
                        connection.recv(chance.randrange(1, 400))  # and goes
                    else:
                        while connection.recv(65536):
                            pass
            except OSError:
                pass
            self.sent += 1


def _request(kind: str, number: int, chance: random.Random) -> str:
    method = f"VERB{number}" if number % 17 == 0 else "GET"
    path = f"/{kind}/{number}?token={number}" if kind != "nowhere" else f"/{number}/{chance.random()}"
    headers: Mapping[str, str] = {
        "Host": f"host-{number}.example",
        "User-Agent": f"agent/{number}",
        "X-Request-ID": f"id-{number}",
        "traceparent": f"00-{number:032x}-{number:016x}-{'01' if number % 5 else 'zz'}",
        "tracestate": f"v{number}={number}",
        "baggage": f"b{number}={number}",
        "Connection": "close",
    }
    return f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
