"""What an application says about its health, without any distro running."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import sqlalchemy

from otel_distro import health
from otel_distro.health.process import Health
from otel_distro.health.setup import this_process
from tests.asgi_rig import drive, get, one_route, scope_of
from tests.health_rig import HERE
from tests.servers.base import free_port


@pytest.fixture
def process() -> Iterator[Health]:
    """The health of a process that has just begun."""
    this_process.cache_clear()
    yield this_process()
    this_process.cache_clear()


def checks(process: Health) -> dict[str, tuple[str, bool]]:
    """Status of each check, and whether it is critical."""
    outcomes = asyncio.run(outcomes_of(process))
    return {check.name: (result.status.value, check.critical) for check, result in outcomes}


async def outcomes_of(process: Health) -> Any:
    return await process.outcomes()


def test_functions_are_checks_by_decorator_and_by_call(process: Health) -> None:
    """The decorated function stays what it was, and a later check of a name replaces the earlier."""

    @health.check("index", critical=False)
    def index() -> bool:
        return False

    async def queue() -> None:
        raise health.Degraded("slow")

    assert health.check("queue", queue) is queue
    assert index() is False
    assert checks(process) == {"index": ("down", False), "queue": ("degraded", True)}
    health.check("index", lambda: True)
    assert checks(process)["index"] == ("up", True)


def test_the_newest_results_are_told_in_one_line_without_a_run(process: Health) -> None:
    """What `otel_distro.status()` says of health: the phase, what is waited for, and what is known of each check."""
    runs: list[int] = []
    health.check("index", lambda: runs.append(1) or False)
    assert process.summary == "running, index not asked yet"
    checks(process)
    ready = health.hold("loading the model")
    assert process.summary == "starting, loading the model, index down (the check says no)"
    ready()
    assert runs == [1]


def test_dependencies_are_checked_under_the_names_they_are_given(process: Health, tmp_path: Path) -> None:
    """Engines are critical and the rest degrades, unless the call says otherwise."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/x.db")
    client = fakeredis.FakeRedis()
    health.check_database(engine, "orders")
    health.check_database(engine)
    health.check_redis(client, "sessions", critical=True)
    health.check_http("partner", f"http://127.0.0.1:{free_port()}/", timeout=5)
    with pytest.raises(ValueError, match="not a URL"):
        health.check_http("typo", "partner.example")
    assert checks(process) == {
        "orders": ("up", True),
        "database": ("up", True),
        "sessions": ("up", True),
        "partner": ("down", False),
    }
    engine.dispose()


def test_a_loop_that_beats_is_up(process: Health) -> None:
    """Whoever runs by itself says that it does."""
    beat = health.heartbeat("consumer", max_age=3600)
    health.heartbeat("stuck", max_age=-1)
    beat.beat()
    assert {name: status for name, (status, _) in checks(process).items()} == {"consumer": "up", "stuck": "down"}


def status_of(app: Any) -> tuple[int, bytes]:
    start, body = get(app, "/ready", **HERE)
    return start["status"], body["body"]


def test_one_line_puts_the_paths_in_front_of_starlette(process: Health) -> None:
    """The application is given back, and its start and end change the answer."""
    app = one_route(path="/{anything:path}")
    assert health.mount(app) is app
    release = health.hold("warming up")
    assert status_of(app)[0] == 503
    release()
    assert status_of(app)[0] == 200
    assert get(app, "/other")[1]["body"] == b"fine"
    health.drain()
    code, body = status_of(app)
    assert code == 503
    assert b"draining" in body


def test_any_other_application_is_wrapped(process: Health) -> None:
    """What is no health path, and what is no HTTP, goes on to it."""
    seen: list[str] = []

    async def plain(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    app = health.mount(plain)
    assert status_of(app)[0] == 200
    assert get(app, "/other") == []
    asyncio.run(drive(app, {**scope_of("/ready"), "type": "websocket"}))
    assert seen == ["http", "websocket"]
