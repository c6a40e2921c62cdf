"""The check of Celery's workers, with a real worker."""

from __future__ import annotations

import asyncio

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker

from otel_distro.health import dependencies
from tests.health_rig import HERE, HealthRig


@pytest.mark.filterwarnings("default")  # Celery's and kombu's own
def test_workers_that_answer_are_counted() -> None:
    """No worker, or fewer than are wanted, is down with the numbers; one that answers is up."""
    app = Celery("jobs", broker="memory://")
    app.conf.broker_transport_options = {"polling_interval": 0.02}
    rig = HealthRig({"OTEL_DISTRO_HEALTH_CACHE": "0", "OTEL_DISTRO_HEALTH_TIMEOUT": "10000"})
    rig.check("celery", dependencies.celery(app, 1, 1.0), critical=False)
    before = asyncio.run(rig.ask("/ready", **HERE))[1]["checks"]
    assert before["celery"]["error"] == "ConnectionError: 0 of 1 workers answered"
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=30):
        rig.check("two", dependencies.celery(app, 2, 1.0), critical=False)
        during = asyncio.run(rig.ask("/ready", **HERE))[1]["checks"]
    assert during["celery"]["details"] == {"workers": 1}
    assert during["two"]["error"] == "ConnectionError: 1 of 2 workers answered"
