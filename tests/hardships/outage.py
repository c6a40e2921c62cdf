"""The collector goes away under load and comes back: every span and every count arrives, memory stays bounded."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.hardships.processes import Load, Served
from tests.programs import OURS
from tests.servers import OtlpSink
from tests.servers.waiting import wait_until

_NAME = "http.server.request.duration"


@dataclass(frozen=True)
class Outcome:
    """What became of it.

    Attributes:
        requests: answered by the application.
        failed: not answered, which would be the application's suffering.
        lost: requests whose span never arrived.
        doubled: spans that arrived more than once.
        counted: requests that the metrics know of.
        growth: bytes by which the greatest worker grew.
        files: files in the spool's directory just before the collector came back.
        behind: seconds after its return until everything had arrived.
        rate: requests a second that were answered during the outage.
        latency: milliseconds of a request during the outage: median, 99th percentile and longest.
    """

    requests: int
    failed: int
    lost: int
    doubled: int
    counted: int
    growth: int
    files: int
    behind: float
    rate: float
    latency: tuple[float, float, float]


_SHARES = (0.5, 0.99, 1.0)
_SERVER = ("uvicorn", "tests.hardships.application:app", "--port", "{port}", "--log-level", "warning", "--workers")


def bare(directory: Path, *, seconds: float, rate: float = 200, workers: int = 4) -> tuple[float, float, float]:
    """Milliseconds of a request under the same load without the distro: median, 99th percentile and longest."""
    with (
        Served((*_SERVER, str(workers)), {}, directory / "bare.log") as served,
        Load(served.port, rate) as load,
    ):
        time.sleep(1.5)
        began = time.monotonic()
        time.sleep(seconds)
        p50, p99, most = (load.latency(share, began) for share in _SHARES)
        return p50, p99, most


def outage(directory: Path, *, seconds: float, rate: float = 200, workers: int = 4, around: float = 1.5) -> Outcome:
    """An outage of `seconds` at `rate` requests a second over `workers`, with the spool in `directory`.

    The load begins `around` seconds before and ends as long after it.
    """
    spool = directory / "spool"
    with OtlpSink() as sink:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTEL_BSP_SCHEDULE_DELAY": "300",
            "OTEL_PYTHON_EXCLUDED_URLS": "health",
            "OTEL_DISTRO_SPOOL_DIR": str(spool),
        }
        with Served((*OURS, *_SERVER, str(workers)), environ, directory / "outage.log") as served:
            with Load(served.port, rate) as load:
                time.sleep(around)
                before = served.memory()
                sink.stop()
                down, answered = time.monotonic(), len(load.answered)
                time.sleep(seconds)
                up, answered = time.monotonic(), len(load.answered) - answered
                after = served.memory()
                files = sum(1 for path in spool.rglob("*") if path.is_file())
                sink.start()
                time.sleep(around)
            began = time.monotonic()
            wanted = load.answered
            try:
                wait_until(lambda: wanted <= seen(sink).keys(), seconds=60, what="every span")
                wait_until(lambda: counted(sink) >= len(wanted), seconds=20, what="every count")
            except TimeoutError:
                pass  # the outcome tells
            behind = time.monotonic() - began
            arrived = seen(sink)
            p50, p99, most = (load.latency(share, down, up) for share in _SHARES)
            return Outcome(
                requests=len(wanted),
                failed=load.failed,
                lost=len(wanted - arrived.keys()),
                doubled=sum(arrived.values()) - len(arrived),
                counted=counted(sink),
                growth=max((after[pid] - before[pid] for pid in after if pid in before), default=0),
                files=files,
                behind=behind,
                rate=answered / (up - down),
                latency=(p50, p99, most),
            )


def seen(sink: OtlpSink) -> Counter[int]:
    """Requests that have a server span, by number."""
    paths = (str(span.attributes.get("url.path", "")) for span in sink.spans if span.kind == "SERVER")
    return Counter(int(path.rpartition("/")[2]) for path in paths if path.startswith("/n/"))


def counted(sink: OtlpSink) -> int:
    """Requests by the last cumulative point of each process."""
    last: dict[tuple[str, str], int] = {}
    for point in sink.points:
        if point.name == _NAME and "/n/" in str(point.attributes.get("http.route")):
            key = str(point.resource.get("service.instance.id")), str(sorted(map(str, point.attributes.items())))
            last[key] = max(last.get(key, 0), int(point.count or 0))
    return sum(last.values())
