"""The five hand-written stacks, replaced: every item that their READMEs list is had.

There is no telemetry code in the services but the calls that only an application can make. What a later version brings
is named in `docs/migrating.md` and not tested here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import LOGS
from tests.e2e.service import Service
from tests.e2e.stacks import HEALTH_AGENT, STACKS, Stack
from tests.e2e.stacks.rig import Evidence, running
from tests.programs import OURS
from tests.servers import RedisServer
from tests.servers.sentry import SentryServer

_ITEMS = [(stack, item) for stack in STACKS for item in stack.items]


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """One Redis for all."""
    with RedisServer(LOGS / "stacks") as server:
        yield server


@pytest.fixture(scope="module")
def evidence(request: pytest.FixtureRequest, redis: RedisServer) -> Iterator[Evidence]:
    """The service of one stack after its traffic; tests are ordered by stack, so each is started once."""
    stack: Stack = request.param
    logs = LOGS / "stacks" / stack.module
    logs.mkdir(parents=True, exist_ok=True)
    for old in logs.glob("*.db"):
        old.unlink()
    environ = {"REDIS_URL": redis.url, **stack.environ}
    with running(stack.module, environ, stack.drive, logs, arguments=stack.arguments) as found:
        yield found


@pytest.mark.parametrize(
    ("evidence", "item"),
    # a name of its own for each item, or pytest would order them by items that two stacks share
    [pytest.param(stack, f"{stack.module}: {item}", id=f"{stack.module}: {item}") for stack, item in _ITEMS],
    indirect=["evidence"],
    scope="module",
)
def test_an_item_of_the_readme_is_had(evidence: Evidence, item: str, request: pytest.FixtureRequest) -> None:
    """Each item of a stack's README is seen in what the service sent, wrote or answered."""
    stack: Stack = request.node.callspec.params["evidence"]
    stack.items[item.removeprefix(f"{stack.module}: ")](evidence)


_AGENT = (*OURS, "uvicorn", "stacks.health_agent:app", "--port", "{port}")


def agent(sentry: SentryServer, tmp_path: Path, **environ: str) -> Service:
    variables = {
        "PYTHONPATH": ".",
        "AGENT_URL": "http://127.0.0.1:1",
        "DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'agent.db'}",
        "SENTRY_DSN": sentry.dsn,
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_DISTRO_HEALTH": "on",
        "OTEL_DISTRO_METRICS_ROUTE": "/metrics",
        **environ,
    }
    return Service(HEALTH_AGENT.module, _AGENT, variables, tmp_path)


def test_an_error_at_the_start_reaches_sentry(tmp_path: Path) -> None:
    """The health agent's early initialisation: a service that cannot be imported says so, too."""
    with SentryServer() as sentry:
        with pytest.raises(RuntimeError, match="cannot work"), agent(sentry, tmp_path, BREAK_AT_START="1"):
            pass
        sentry.wait_for(lambda found: found.events, what="the error of the start")
        assert [event["exception"]["values"][-1]["type"] for event in sentry.events] == ["RuntimeError"]


def test_both_can_be_switched_off_by_the_names_they_had(tmp_path: Path) -> None:
    """The health agent's deployment without monitoring: neither metrics nor errors leave."""
    with SentryServer() as sentry, agent(sentry, tmp_path, ENABLE_SENTRY="false", ENABLE_PROMETHEUS="false") as running:
        assert running.call("/chat?question=hi", method="POST", headers={"x-user": "1"}).status == 500
        assert running.call("/metrics").status == 404
        running.stop()
        assert sentry.posts == []
