"""A collector on a core of its own, recording backends and senders on another, and what the collector used."""

from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from scripts.collectorgen.roles import configuration
from scripts.collectorgen.text import without_comments
from tests.collector.generated import NOWHERE, TOKEN, GeneratedCollector
from tests.servers import RecorderServer, total, wait_until
from tests.servers.binaries import load_binary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scripts.collectorgen.choices import Choice
    from tests.otlp_servers import Certificates

_CORES = sorted(os.sched_getaffinity(0))
COLLECTOR_CORE, OTHER_CORE = str(_CORES[0]), str(_CORES[-1])
BOTH_CORES = f"{COLLECTOR_CORE},{OTHER_CORE}"
#: What deploy/ gives each role.
MEMORY_LIMITS = {
    "agent": "150MiB",
    "gateway": "600MiB",
    "sampling": "2400MiB",
    "ingest": "600MiB",
    "consume": "2400MiB",
}
#: Recording backends of the roles that have others than Tempo and Jaeger.
BACKENDS: dict[str, tuple[str, ...]] = {"agent": ("gateway",), "ingest": ()}
_TRACES_IN_SENTRY = "/api/1/integration/otlp/v1/traces/"


@dataclass(frozen=True, slots=True)
class Used:
    """What a process has used so far, or between two moments."""

    seconds: float  # of the clock
    cpu: float  # seconds of all threads
    written: int  # bytes, to files

    def since(self, before: Used) -> Used:
        """The difference."""
        return Used(self.seconds - before.seconds, self.cpu - before.cpu, self.written - before.written)


class Pinned(GeneratedCollector):
    """The collector, on the given cores."""

    cores = ""

    def command(self) -> Sequence[str]:
        return ["taskset", "-c", self.cores, *super().command()]

    def used(self) -> Used:
        """CPU by the process's own clock, which counts nanoseconds; bytes written as the kernel counts them."""
        written = int(_fields(f"/proc/{self.pid}/io")["write_bytes"])
        # The clock id of another process's CPU time (clock_getcpuclockid(3)).
        return Used(time.monotonic(), time.clock_gettime((~self.pid << 3) | 2), written)

    def anonymous(self) -> int:
        """Bytes of memory without the mapped queue files, which the kernel takes back when it needs them."""
        return int(_fields(f"/proc/{self.pid}/status")["RssAnon"].split()[0]) * 1024

    def queue_file(self) -> int:
        """Bytes that the queues' files take on the disk."""
        return sum(path.stat().st_blocks * 512 for path in (self.data / "queues").glob("*/*") if path.is_file())


class Backend(RecorderServer):
    """A recording backend on the core of the senders."""

    def command(self) -> Sequence[str]:
        return ["taskset", "-c", OTHER_CORE, *super().command()]

    def spans(self) -> int:
        """Different spans stored so far."""
        return self.stats()["distinct"]


@dataclass(frozen=True, slots=True)
class Setup:
    """One thing to measure: a configuration, and how it is sent to.

    Attributes:
        title: of its row.
        choice: role and overlays.
        grpc, gzip: how the senders send.
        red: span metrics; without them the follower is left out of the configuration.
        env: further variables of the collector.
    """

    title: str
    choice: Choice
    grpc: bool = False
    gzip: bool = False
    red: bool = True
    env: tuple[tuple[str, str], ...] = ()


class Rig:
    """A context manager that runs the servers of one setup."""

    def __init__(self, setup: Setup, logs: Path, certificates: Certificates, *, cores: str = "") -> None:
        """Nothing is started yet. The collector gets a core of its own unless `cores` names others."""
        self.setup, self.logs, self.certificates = setup, logs, certificates
        self.cores = cores or COLLECTOR_CORE

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            names = BACKENDS.get(self.setup.choice.role, ("tempo", "jaeger"))
            secure = None if self.setup.choice.tls == "none" else self.certificates.server
            self.backends = {
                name: starting.enter_context(Backend(self.logs, name, certificate=secure)) for name in names
            }
            self.prometheus = starting.enter_context(Backend(self.logs, "prometheus"))
            self.collector = self._collector()
            starting.enter_context(self.collector)
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def _collector(self) -> Pinned:
        choice = self.setup.choice
        where = {name: backend.otlp_endpoint for name, backend in self.backends.items()}
        built = Pinned(
            self.logs,
            choice,
            self.certificates,
            env={
                "TEMPO_OTLP_ENDPOINT": where.get("tempo", NOWHERE),
                "JAEGER_OTLP_ENDPOINT": where.get("jaeger", NOWHERE),
                "OTELCOL_GATEWAY_ENDPOINT": where.get("gateway", NOWHERE),
                "PROMETHEUS_OTLP_ENDPOINT": self.prometheus.url,
                "SENTRY_OTLP_TRACES_ENDPOINT": self.prometheus.url + _TRACES_IN_SENTRY,
                "OTELCOL_QUEUE_BYTES": "4294967296",
                "GOMEMLIMIT": MEMORY_LIMITS[choice.role],
                **dict(self.setup.env),
            },
        )
        built.cores = self.cores
        built.through_start = True  # as it is deployed: it also sets how often Go collects garbage
        if not self.setup.red:
            built.config.write_text(_without_red(choice))
        return built

    def load(self, *, rate: float = 0, seconds: float) -> Load:
        """Start the senders: `rate` spans a second, or as many as are taken."""
        setup, ports = self.setup, self.collector.ports
        where = f"127.0.0.1:{ports['grpc']}" if setup.grpc else self.collector.url
        flags = [f"-endpoint={where}", f"-rate={rate}", f"-seconds={seconds}"]
        flags += [f"-{name}" for name in ("grpc", "gzip") if getattr(setup, name)]
        if setup.choice.tls != "none":
            certificate, key = self.certificates.client
            flags += [f"-ca={self.certificates.authority}", f"-cert={certificate}", f"-key={key}"]
        if setup.choice.token:
            flags.append(f"-token={TOKEN}")
        return Load(flags)

    def delivered(self) -> int:
        """Different spans that every backend has; where the backend is Kafka, spans that it has acknowledged."""
        if not self.backends:
            return int(total(self.collector.metrics(), "otelcol_exporter_sent_spans_total") or 0)
        return min(backend.spans() for backend in self.backends.values())

    def waiting(self) -> int:
        """Bytes in all queues of traces."""
        found = total(self.collector.metrics(), "otelcol_exporter_queue_size", data_type="traces")
        return int(found or 0)

    def settle(self, spans: int, *, seconds: float = 120.0) -> None:
        """Wait until every backend has `spans` different spans.

        Raises:
            TimeoutError: it has not.
        """
        wait_until(lambda: self.delivered() >= spans, seconds=seconds, what=f"{spans} spans in every backend")


class Load:
    """The senders of benchmarks/collector/load, a process."""

    def __init__(self, flags: Sequence[str]) -> None:
        """Started at once."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL")}
        command = ["taskset", "-c", OTHER_CORE, load_binary(), *flags]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)

    @property
    def running(self) -> bool:
        """Whether they still send."""
        return self._process.poll() is None

    def end(self) -> Mapping[str, Any]:
        """Wait for the end: what the senders were told.

        Raises:
            RuntimeError: they could not send.
        """
        output, _ = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError(f"the senders ended with {self._process.returncode}")
        found: dict[str, Any] = json.loads(output)
        return found

    def stop(self) -> Mapping[str, Any]:
        """End them now: what they were told."""
        self._process.terminate()
        return self.end()


def _without_red(choice: Choice) -> str:
    """The configuration whose connector has no followers, and that has no span metrics."""
    document = without_comments(configuration(choice))
    document["connectors"]["isolate"].pop("followers")
    document["connectors"].pop("span_metrics")
    document["processors"].pop("transform/red")
    for name in ("traces/red", "metrics/red"):
        document["service"]["pipelines"].pop(name)
    return json.dumps(document)  # every JSON document is a YAML one


def _fields(path: str) -> dict[str, str]:
    lines = (line.partition(":") for line in Path(path).read_text().splitlines())
    return {name: value.strip() for name, _, value in lines}
