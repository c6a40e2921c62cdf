"""The end of a service with health on: not ready before it stops listening, with every server and number of workers."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from tests.e2e.service import Service
from tests.programs import OURS
from tests.servers.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
UVICORN = ("uvicorn", "--app-dir", str(ROOT), "tests.health_service:app", "--port", "{port}", "--no-access-log")
ON = {
    "OTEL_DISTRO_HEALTH": "on",
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_METRICS_EXPORTER": "none",
    "PYTHONPATH": str(ROOT),
}


LAUNCHES = {
    "one worker": (*OURS, *UVICORN),
    "two workers": (*OURS, *UVICORN, "--workers", "2"),
    "gunicorn": (
        *OURS,
        *("gunicorn", "--chdir", str(ROOT), "tests.health_service:app", "-k", "uvicorn_worker.UvicornWorker"),
        *("-w", "2", "-b", "127.0.0.1:{port}", "--preload"),
    ),
}


@pytest.mark.parametrize("launch", LAUNCHES.values(), ids=LAUNCHES)
def test_a_process_that_was_told_to_end_is_not_ready_and_serves_on(tmp_path: Path, launch: tuple[str, ...]) -> None:
    """Between SIGTERM and its end every probe says draining and every request is answered; then it ends as before."""
    with Service("health", launch, {**ON, "OTEL_DISTRO_HEALTH_DRAIN": "6000"}, tmp_path) as running:
        wait_until(lambda: running.call("/ready").status == 200, seconds=20, what="the service to be ready")
        ended: list[int] = []
        ending = threading.Thread(target=lambda: ended.append(running.stop()))
        ending.start()
        wait_until(lambda: running.call("/ready").status == 503, seconds=5, what="the service to drain")
        # each of two workers gets the signal for itself
        wait_until(lambda: {running.call("/ready").status for _ in range(8)} == {503}, seconds=5, what="both to drain")
        assert running.call("/ready").json()["status"] == "draining"
        assert running.call("/work").status == 200
        assert running.call("/live").status == 200
        assert not ended
        ending.join(120)
    assert ended in ([0], [-signal.SIGTERM])


def test_without_a_delay_the_end_is_as_without_us(tmp_path: Path) -> None:
    """The delay is off by default: a service ends at once."""
    with Service("health", (*OURS, *UVICORN), ON, tmp_path) as running:
        assert running.call("/ready").status == 200
        assert running.stop() in {0, -signal.SIGTERM}
