"""One launch under load while its workers die: the client's truth beside what each way of counting says."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.killing import Killer, children
from tests.chaos.load import Load, Truth
from tests.chaos.watch import OPENMETRICS, Watch, count, faults, scrape
from tests.e2e.service import Service
from tests.programs import OURS, STOCK
from tests.servers import Stack
from tests.servers.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
_APP = "tests.chaos.application:app"
_UVICORN = ("uvicorn", _APP, "--port", "{port}", "--no-access-log")
_GUNICORN = ("gunicorn", _APP, "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:{port}", "-w", "4")

KILL, TERM = signal.SIGKILL, signal.SIGTERM


@dataclass(frozen=True)
class Launch:
    """One way of starting, and what may happen to it.

    Attributes:
        command: with the launcher.
        signals: for the workers; none where there is one process only.
        reloads: the source is touched now and then.
    """

    command: tuple[str, ...]
    signals: tuple[signal.Signals, ...] = ()
    reloads: bool = False


LAUNCHES: Mapping[str, Launch] = {
    "uvicorn": Launch((*STOCK, *_UVICORN)),
    "uvicorn --workers 4, TERM": Launch((*STOCK, *_UVICORN, "--workers", "4"), (TERM,)),
    "uvicorn --workers 4, TERM and -9": Launch((*OURS, *_UVICORN, "--workers", "4"), (TERM, KILL)),
    "uvicorn --reload": Launch((*STOCK, *_UVICORN, "--reload"), reloads=True),
    "gunicorn -w 4, TERM": Launch((*STOCK, *_GUNICORN), (TERM,)),
    "gunicorn -w 4, TERM and -9": Launch((*STOCK, *_GUNICORN), (TERM, KILL)),
    "gunicorn --preload, TERM and -9": Launch((*OURS, *_GUNICORN, "--preload"), (TERM, KILL)),
    "gunicorn --max-requests, TERM and -9": Launch(
        (*STOCK, *_GUNICORN, "--max-requests", "60", "--max-requests-jitter", "40"), (TERM, KILL)
    ),
}


@dataclass
class Outcome:
    """What a round showed.

    Attributes:
        truth: the client's.
        least: the fewest requests that can be right.
        most: the most.
        killed: how often each signal was sent.
        processes: that answered requests.
        scraped: the total on /metrics at the end.
        falls: of the total, seen by who scraped all the time.
        longest_gap: seconds without an answer to a scrape.
        prometheus: the total in Prometheus, None when it was not asked.
        resets: falls that Prometheus saw.
        otlp: the total that came through the collector, None when it was not asked.
        wrong: what is not as it must be.
    """

    truth: Truth
    least: int
    most: int
    killed: Mapping[signal.Signals, int]
    processes: int
    scraped: int
    falls: Sequence[tuple[int, int]]
    longest_gap: float
    prometheus: float | None = None
    resets: float | None = None
    otlp: float | None = None
    wrong: list[str] = field(default_factory=list)

    def line(self) -> str:
        """One line for people."""
        killed = ", ".join(f"{n} x {s.name}" for s, n in self.killed.items()) or "nobody"
        ways = f"/metrics {self.scraped}"
        if self.prometheus is not None:
            ways += f", Prometheus {self.prometheus:g}"
        if self.otlp is not None:
            ways += f", OTLP {self.otlp:g}"
        return (
            f"sent {self.truth.sent}, answered {self.truth.answered} by {self.processes} processes (killed: {killed}); "
            f"{ways}; falls {len(self.falls)}, longest gap between scrapes {self.longest_gap:.2f} s"
            + "".join(f"\n    WRONG: {problem}" for problem in self.wrong)
        )


class Round:
    """One launch, from its start to its end.

    Args:
        launch: of `LAUNCHES`.
        logs: directory of the service's log.
        stack: Prometheus scrapes the service and the collector gets its metrics; None leaves both out.
        clients: that send at the same time.
    """

    def __init__(self, launch: Launch, logs: Path, *, stack: Stack | None = None, clients: int = 16) -> None:
        self._launch = launch
        self._stack = stack
        self._clients = clients
        self._source = logs / "reloaded" / "touched.py"
        self._source.parent.mkdir(parents=True, exist_ok=True)
        self._source.touch()
        command = (*launch.command, *(("--reload-dir", str(self._source.parent)) if launch.reloads else ()))
        otlp = stack.collector.url if stack is not None else "http://127.0.0.1:9"
        environ = {
            "PYTHONPATH": str(ROOT),
            "OTEL_METRICS_EXPORTER": "prometheus,otlp" if stack is not None else "prometheus",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_ENDPOINT": otlp,
        }
        self._name = f"chaos-{os.getpid()}-{time.monotonic_ns() % 10**9}"
        self.service = Service(self._name, command, environ, logs)

    def run(self, seconds: float, *, pause: float = 1.0, seed: int = 0) -> Outcome:
        """Load the service for so long, kill its workers all the while, and compare.

        Args:
            seconds: of load.
            pause: seconds between two signals.
            seed: of the signals.
        """
        service, url = self.service, f"http://{self.service.metrics_target}/metrics"
        with service:
            if self._stack is not None:
                self._stack.prometheus.scrape(apps=[service.metrics_target])
            with Watch(url) as watch, Load(service.port, self._clients) as load:
                with Killer(service.pid, self._launch.signals or (TERM,), pause=pause, seed=seed) as killer:
                    if not self._launch.signals:
                        killer.stop()
                    self._spend(seconds)
                truth = load.stop()
                scraped = _settled(url, self._least(truth, killer))
            outcome = self._outcome(truth, killer, scraped, watch)
            outcome.wrong += faults(scrape(url) or "no answer", scrape(url, OPENMETRICS) or "no answer")
            if self._stack is not None:
                self._ask_prometheus(outcome)
        if self._stack is not None:
            self._ask_otlp(outcome)
        return outcome

    def _spend(self, seconds: float) -> None:
        """Let time pass, touching the source now and then where that means something."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            threading.Event().wait(min(left, 2.5))
            if self._launch.reloads and left > 2.5:
                before = set(children(self.service.pid))
                self._source.write_text(f"# {left}\n")
                wait_until(lambda: set(children(self.service.pid)) - before, seconds=20, what="a reload")  # noqa: B023

    def _least(self, truth: Truth, killer: Killer) -> int:
        """Without -9 a worker finishes what it has begun, and whoever was not answered was not served."""
        return truth.answered - self._clients * killer.hard

    def _outcome(self, truth: Truth, killer: Killer, scraped: int, watch: Watch) -> Outcome:
        least = self._least(truth, killer)
        most = truth.sent if killer.hard else truth.answered
        outcome = Outcome(
            truth=truth,
            least=least,
            most=most,
            killed={s: n for s, n in killer.sent.items() if n},
            processes=len(truth.pids),
            scraped=scraped,
            falls=watch.falls,
            longest_gap=watch.longest_gap,
        )
        if not least <= scraped <= most:
            outcome.wrong.append(f"/metrics shows {scraped}, not {least} to {most}")
        outcome.wrong += watch.unparsable
        if watch.falls:
            outcome.wrong.append(f"totals fell: {watch.falls[:3]}")
        if truth.answered < 100:
            outcome.wrong.append("hardly any load")
        return outcome

    def _ask_prometheus(self, outcome: Outcome) -> None:
        assert self._stack is not None
        prometheus = self._stack.prometheus
        series = f'http_server_request_duration_seconds_count{{instance="{self.service.metrics_target}"}}'
        outcome.prometheus = _reaches(lambda: prometheus.value(f"sum({series})"), outcome.scraped, seconds=60.0)
        outcome.resets = prometheus.value(f"sum(resets({series}[10m]))")
        if outcome.prometheus != outcome.scraped:
            outcome.wrong.append(f"Prometheus has {outcome.prometheus}, /metrics {outcome.scraped}")
        if outcome.resets:
            outcome.wrong.append(f"Prometheus saw {outcome.resets} resets")

    def _ask_otlp(self, outcome: Outcome) -> None:
        """After the end: what every process sent last, dead ones included."""
        assert self._stack is not None
        prometheus = self._stack.prometheus
        series = f'http_server_request_duration_seconds_count{{service_name="{self._name}",job="{self._name}"}}'
        found = f"sum(max_over_time({series}[15m]))"
        outcome.otlp = _reaches(lambda: prometheus.value(found), outcome.scraped)
        if outcome.otlp is None or outcome.otlp < outcome.least:  # a busy machine takes longer
            outcome.otlp = _reaches(lambda: prometheus.value(found), outcome.scraped, seconds=60.0)
        if outcome.otlp is None or not outcome.least <= outcome.otlp <= outcome.most:
            outcome.wrong.append(f"OTLP brought {outcome.otlp}, not {outcome.least} to {outcome.most}")


def _settled(url: str, least: int) -> int:
    """The total as soon as it stands still: the last requests' ends, a worker's that is just being folded.

    A worker without a processor counts late what it has answered: less than `least` is waited for.
    """
    last = -1

    def still() -> bool:
        nonlocal last
        text = scrape(url)
        if text is None:
            return False
        before, last = last, count(text)
        return last == before and last >= least

    with contextlib.suppress(TimeoutError):  # the outcome tells
        wait_until(still, seconds=15, what=f"{url} to stand still")
    return last


def _reaches(value: Callable[[], float | None], wanted: float, seconds: float = 10.0) -> float | None:
    """The value once it is as wanted, else the last one."""
    end = time.monotonic() + seconds
    found = value()
    while found != wanted and time.monotonic() < end:
        time.sleep(0.25)
        found = value()
    return found
